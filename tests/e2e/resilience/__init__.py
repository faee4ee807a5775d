"""A version may fail, and the user does not notice: what that means in numbers, under load, over real sockets."""

"""Where people meet the proxy: the command line and the admin port."""

"""A clock that jumps, and what it rings."""


class Timer:
    def __init__(self, due, callback, args):
        self.due, self.callback, self.args, self.cancelled = due, callback, args, False

    def cancel(self):
        self.cancelled = True


class Timers:
    def __init__(self):
        self.now = 0.0
        self.waiting = []

    def time(self):
        return self.now

    def call_later(self, delay, callback, *args):
        self.waiting.append(Timer(self.now + delay, callback, args))
        return self.waiting[-1]

    def jump(self, seconds):
        """Let time pass; what was due rings in order."""
        end = self.now + seconds
        while True:
            due = [timer for timer in self.waiting if timer.due <= end and not timer.cancelled]
            if not due:
                break
            first = min(due, key=lambda timer: timer.due)
            self.waiting.remove(first)
            self.now = max(self.now, first.due)
            first.callback(*first.args)
        self.now = end

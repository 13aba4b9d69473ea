"""The error for whoever typed the command: what is wrong and what to do about it."""


class UserError(Exception):
    """A wrong option, a missing file, an unwritable output: found before any work starts.

    The message is complete: it names the thing and the next step. Jobs print it alone, without a traceback.
    """

"""Becomes the program named on its command line, as the right account and tied to the life of its parent.

Run by path in a fresh interpreter, never imported: what it does would not be safe between fork and exec of a
process that has threads. It uses the standard library only.

    launcher.py run ACCOUNT PARENT SIGNAL PROGRAM [ARGUMENT...]
    launcher.py probe ACCOUNT PATH...

ACCOUNT is `uid:gid`, or `-` to stay who we are. SIGNAL is what the program gets when PARENT dies, 0 for
nothing. `probe` exits with 0 if the account may read and enter (or run) every path, with 1 if it may not, and
with 2 if we may not become that account.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(account: str) -> None:
    """Drop to the account for good; files made from now on are for that account only."""
    os.umask(0o077)
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def die_with(parent: int, signum: int) -> None:
    """Ask the kernel for the signal when the parent dies; this survives exec, but not a change of account."""
    if signum == 0:
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # It died before we asked.
        sys.exit(1)


def main(arguments: list[str]) -> int:
    """Do what the command line says; `run` does not return."""
    mode, account, *rest = arguments
    if mode == "probe":
        try:
            become(account)
        except OSError:
            return 2
        return 0 if all(os.access(path, os.R_OK | os.X_OK) for path in rest) else 1
    become(account)
    parent, signum, *command = rest
    die_with(int(parent), int(signum))
    # Python ignores SIGPIPE and the program would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - replacing ourselves is the purpose


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

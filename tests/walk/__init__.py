"""A make-believe list of runs that grows, shrinks and misbehaves under its reader, and readers to drive against it."""

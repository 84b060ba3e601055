"""Software that is not ours reads the archive: `make real` installs what each probe needs, or says why it cannot."""

"""Events: messages become columns, duplicates are found."""

"""Events: messages become columns, repeats are found."""

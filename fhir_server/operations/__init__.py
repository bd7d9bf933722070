"""Operations: `$validate` and the like (R4/operations.html), each a declaration and a plain function."""

"""How good predictions were, once the outcomes are known: in all, in part, by place; and how to mend them."""

"""What conformance resources say of codes, elements, parameters: each type's own rules, a file each."""

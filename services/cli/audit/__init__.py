"""`streamrec audit`: proves from the topics that nothing was lost or repeated, or says where it was."""

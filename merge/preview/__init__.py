"""What will each person see? As files, and as a page; nothing here can reach a carrier."""

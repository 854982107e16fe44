"""What a fit leaves for readers and other programs.

answer: what a fit answers, with its files. export_*: the same for other programs, rooted as asked; libraries: as objects of other
libraries. figures: pictures; tree_drawing: the tree in a file of its own, by matplotlib or by ETE 3 (ete3_page).
"""

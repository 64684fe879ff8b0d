"""What entries have in common, written once: a sibling mapping merged, deeply, under each of them.

Mappings merge key by key; of anything else the entry's own value wins. Every value keeps the place it was written at.
"""

from composer.schema import merged_keys
from composer.tree import Tree


def merge_shared(cls: type, tree: Tree) -> None:
    """Merge each shared mapping of a class's section into the entries it is for, and drop it.

    The tree is changed, so that whoever asks it later for an entry's place finds the shared one. Sections in which
    either side is no mapping are left as they are, for the reader to report.
    """
    for shared_key, key in merged_keys(cls).items():
        shared, entries = tree.child(shared_key), tree.child(key)
        if shared is None or entries is None or not shared.is_mapping or not entries.is_mapping:
            continue
        merged = {str(name): under(shared, entry) for name, entry in entries.children()}
        children = {str(name): child for name, child in tree.children() if name != shared_key}
        children[key] = Tree(merged, entries.file, entries.line, entries.column, entries.key)
        tree.become(Tree(children, tree.file, tree.line, tree.column))


def under(shared: Tree, entry: Tree) -> Tree:
    """An entry with everything of `shared` that it does not say itself."""
    if not (shared.is_mapping and entry.is_mapping):
        return entry
    children = {str(name): child for name, child in shared.children()}
    for name, child in entry.children():
        key = str(name)
        children[key] = under(children[key], child) if key in children else child
    return Tree(children, entry.file, entry.line, entry.column, entry.key)

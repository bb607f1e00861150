#!/usr/bin/env python3
"""Prints the graph of modules in folders of C files; with --check, finds circles.

usage: include_graph.py [--check] FOLDER...

A module is NAME.c with NAME.h. Module A uses module B if a file of A includes B's header, or if A's header declares a
function that B's .c file defines: who includes A's header then depends on B as well. Modules are printed in layers: a
module uses only modules of earlier layers. Run it at the top of the tree, where #include paths start.

--check prints nothing but errors, and exits 1 if there is a circle of modules, or a circle of folders. Without a circle
of folders, the folders have an order in which nothing is included upward; tests/check_layers.sh holds which order it is.
"""
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
# What precedes a function's name at the outermost level, the name, and the parameters.
FUNCTION = re.compile(r'^(?P<before>[\w\s*]+?[\s*])(?P<name>\w+)\s*\((?!\s*\*)')


def strip(text):
    """Removes comments, strings, preprocessor lines, and whatever is inside braces."""
    text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', text, flags=re.S)
    text = re.sub(r'"(\\.|[^"\\\n])*"|\'(\\.|[^\'\\\n])*\'', '""', text)
    text = re.sub(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*$', '', text, flags=re.M)
    out, depth = [], 0
    for char in text:
        if char == '}':
            depth -= 1
        if depth == 0:
            out.append(char)
        if char == '{':
            depth += 1
    return ''.join(out)


def functions(text):
    """Names of the functions that are declared, and of those that are defined. Static ones are left out."""
    declared, defined = set(), set()
    for part in re.findall(r'[^;{}]*(?:\{\}|;)', strip(text)):
        found = FUNCTION.match(part.strip())
        if not found or re.search(r'\b(static|typedef|return|else)\b', found['before']):
            continue
        (defined if part.endswith('{}') else declared).add(found['name'])
    return declared, defined


def read_modules(folders):
    """{module: set of modules that it uses}"""
    texts = {}
    for folder in folders:
        for at, _, names in os.walk(folder):
            for name in names:
                if name.endswith(('.c', '.h')):
                    path = os.path.normpath(os.path.join(at, name))
                    with open(path, encoding='utf-8') as file:
                        texts[path] = file.read()
    uses = {os.path.splitext(path)[0]: set() for path in texts}
    declared_in, defined_in = [], {}
    for path, text in texts.items():
        module, kind = os.path.splitext(path)
        for included in INCLUDE.findall(text):
            used = os.path.splitext(included)[0]
            if used in uses and used != module:
                uses[module].add(used)
        declared, defined = functions(text)
        if kind == '.h':
            declared_in += [(module, name) for name in declared]
        else:
            defined_in.update((name, module) for name in defined)
    for module, name in declared_in:
        owner = defined_in.get(name, module)
        if owner != module:
            uses[module].add(owner)
            print(f'note: {module}.h declares {name}, which {owner}.c defines', file=sys.stderr)
    return uses


def find_circles(uses):
    """Strongly connected sets of more than one node (Tarjan, without recursion)."""
    index, low, on_stack, stack, circles = {}, {}, set(), [], []
    for root in sorted(uses):
        work = [] if root in index else [(root, None)]
        while work:
            node, rest = work.pop()
            if rest is None:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
                rest = iter(sorted(uses[node]))
            descended = False
            for used in rest:
                if used not in index:
                    work += [(node, rest), (used, None)]
                    descended = True
                    break
                if used in on_stack:
                    low[node] = min(low[node], index[used])
            if descended:
                continue
            if work:
                parent = work[-1][0]
                low[parent] = min(low[parent], low[node])
            if low[node] == index[node]:
                circle = []
                while not circle or circle[-1] != node:
                    circle.append(stack.pop())
                    on_stack.discard(circle[-1])
                if len(circle) > 1:
                    circles.append(sorted(circle))
    return circles


def folders_of(uses):
    """The same graph between folders."""
    graph = {os.path.dirname(module): set() for module in uses}
    for module, used in uses.items():
        graph[os.path.dirname(module)] |= {os.path.dirname(other) for other in used}
    for folder, used in graph.items():
        used.discard(folder)
    return graph


def print_layers(uses):
    """Prints each layer of a graph, lowest first. Members of a circle are in one layer."""
    circles = {node: set(circle) for circle in find_circles(uses) for node in circle}
    layer_of = {}
    while len(layer_of) < len(uses):
        layer = [node for node in uses if node not in layer_of
                 and all(used in layer_of or used in circles.get(node, ()) for used in uses[node])
                 and all(used in layer_of or used in circles[node]
                         for other in circles.get(node, ()) for used in uses[other])]
        number = max(layer_of.values(), default=-1) + 1
        layer_of.update({node: number for node in layer})
        print(f'layer {number}')
        for node in sorted(layer):
            print(f'  {node}' + (' -> ' + ', '.join(sorted(uses[node])) if uses[node] else ''))


def main():
    arguments = sys.argv[1:]
    check = '--check' in arguments
    folders = [argument for argument in arguments if argument != '--check']
    if not folders or any(not os.path.isdir(folder) for folder in folders):
        print(__doc__, file=sys.stderr)
        return 2
    uses = read_modules(folders)
    graph = folders_of(uses)
    if not check:
        print_layers(uses)
        print('folders')
        print_layers(graph)
    circles = [('modules', circle) for circle in find_circles(uses)]
    circles += [('folders', circle) for circle in find_circles(graph)]
    for kind, circle in circles:
        print(f'circle of {kind}: ' + ', '.join(circle), file=sys.stderr if check else sys.stdout)
    return 1 if check and circles else 0


if __name__ == '__main__':
    sys.exit(main())

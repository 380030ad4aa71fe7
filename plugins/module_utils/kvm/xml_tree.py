# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""XML that is edited in place: what an edit does not mean to change keeps its text, its comments, its namespaces and its white space.

minidom and not ElementTree, which loses comments and renames the prefixes of namespaces it does not know.
"""
from typing import Dict, Iterable, List, Mapping, Optional, Sequence
from xml.dom import expatbuilder, minidom
from xml.dom.minidom import Element
from xml.parsers.expat import ExpatError

from ..host.errors import FleetError

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})


class XmlDocument:
    """A document and the order in which its schema lists the children of each element."""

    #: Children by parent, in the order of the schema: where a new child is put.
    order: Mapping[str, Sequence[str]] = {}

    def __init__(self, text: str, title: str = "The XML") -> None:
        """Parse ``text``; ``title`` names the document in errors. Raises :class:`FleetError` if it is not well-formed."""
        try:
            self._tree = parse(text)
        except (ExpatError, UnicodeError, ValueError) as error:
            raise FleetError("{0} is not well-formed XML: {1}.".format(title, error))
        self.title = title
        self.given = text

    @property
    def root(self) -> Element:
        return self._tree.documentElement

    @property
    def text(self) -> str:
        """The document as it is now: the very text it was made from as long as nothing differs from it."""
        now = serialize(self._tree)
        return self.given if now == serialize(parse(self.given)) else now

    def add(
        self, parent: Element, tag: str, attributes: Optional[Mapping[str, object]] = None, text: str = "", index: Optional[int] = None
    ) -> Element:
        """A new child of ``parent``, where the schema lists it (see :meth:`insert`), indented like its neighbours."""
        element = self._tree.createElement(tag)
        for name, value in (attributes or {}).items():
            element.setAttribute(name, str(value))
        if text:
            element.appendChild(self._tree.createTextNode(text))
        self.insert(parent, element, index)
        return element

    def insert(self, parent: Element, element: Element, index: Optional[int] = None) -> None:
        """Put ``element`` where the schema lists it: behind its likes, or before the one of them that ``index`` counts to."""
        order = list(self.order.get(parent.nodeName, ()))
        rank = {tag: place for place, tag in enumerate(order)}
        mine = rank.get(element.nodeName, len(order))
        present = elements(parent)
        likes = [other for other in present if other.nodeName == element.nodeName]
        if index is not None and index < len(likes):
            _put_before(parent, element, likes[index])
            return
        earlier = likes or [other for other in present if rank.get(other.nodeName, len(order)) <= mine]
        if earlier:
            _put_after(parent, element, earlier[-1])
        elif present:
            _put_before(parent, element, present[0])
        else:
            _put_alone(parent, element)

    def remove(self, element: Element) -> None:
        """Take ``element`` out, with the white space in front of it."""
        parent, before = element.parentNode, element.previousSibling
        if before is not None and _is_blank(before):
            parent.removeChild(before)
        parent.removeChild(element)
        if all(_is_blank(node) for node in parent.childNodes):
            for node in list(parent.childNodes):
                parent.removeChild(node)

    def set_text(self, element: Element, text: str) -> None:
        """Make ``text`` the content of ``element``; content that differs in outer white space only is left alone."""
        if text_of(element) == text:
            return
        for node in list(element.childNodes):
            element.removeChild(node)
        element.appendChild(self._tree.createTextNode(text))

    def adopt(self, element: Element) -> Element:
        """A copy of an element of another document, for use in this one."""
        return self._tree.importNode(element, True)


def parse(text: str) -> minidom.Document:
    """A tree without interpreted namespaces: prefixes are part of the names, and their declarations stay where they were written."""
    return expatbuilder.parseString(text, namespaces=False)


def elements(parent: Element, tag: Optional[str] = None) -> List[Element]:
    """The child elements, or those of one name."""
    return [node for node in parent.childNodes if node.nodeType == node.ELEMENT_NODE and tag in (None, node.nodeName)]


def child(parent: Optional[Element], tag: str) -> Optional[Element]:
    """The first child element of a name."""
    found = elements(parent, tag) if parent is not None else []
    return found[0] if found else None


def attribute(element: Optional[Element], name: str) -> Optional[str]:
    """The value of an attribute; None if there is no such attribute or element."""
    return element.getAttribute(name) if element is not None and element.hasAttribute(name) else None


def set_attribute(element: Element, name: str, value: Optional[object]) -> None:
    """Set an attribute, or remove it with None."""
    if value is not None:
        element.setAttribute(name, str(value))
    elif element.hasAttribute(name):
        element.removeAttribute(name)


def text_of(element: Optional[Element]) -> str:
    """The text of an element, without the white space around it."""
    if element is None:
        return ""
    return "".join(node.data for node in element.childNodes if node.nodeType in (node.TEXT_NODE, node.CDATA_SECTION_NODE)).strip()


def attributes_of(element: Element) -> Dict[str, str]:
    """All attributes, in the order written."""
    return dict(element.attributes.items())


def is_bare(element: Element) -> bool:
    """Whether an element says nothing: no attribute, no child, no comment, no text."""
    return not element.attributes.length and all(_is_blank(node) for node in element.childNodes)


def serialize(node: minidom.Node) -> str:
    """The text of a document or element as libvirt writes it: attributes in single quotes, in the order they were found.

    Not ``toxml``: before Python 3.8 it sorts attributes.
    """
    out: List[str] = []
    _write(node, out)
    return "".join(out)


def _write(node: minidom.Node, out: List[str]) -> None:
    kind = node.nodeType
    if kind == node.ELEMENT_NODE:
        out.append("<" + node.tagName)
        out.extend(" {0}='{1}'".format(name, value.translate(_ATTRIBUTE_ESCAPES)) for name, value in node.attributes.items())
        if node.childNodes:
            out.append(">")
            for inner in node.childNodes:
                _write(inner, out)
            out.append("</" + node.tagName + ">")
        else:
            out.append("/>")
    elif kind == node.TEXT_NODE:
        out.append(node.data.translate(_ESCAPES))
    elif kind == node.DOCUMENT_NODE:
        for inner in node.childNodes:
            _write(inner, out)
            out.append("\n")
    else:
        out.append(node.toxml())


def _is_blank(node: minidom.Node) -> bool:
    return node.nodeType == node.TEXT_NODE and not node.data.strip()


def _indent(element: Element) -> Optional[str]:
    """The white space in front of an element if it stands on a line of its own."""
    before = element.previousSibling
    if before is not None and _is_blank(before) and "\n" in before.data:
        return "\n" + before.data.rsplit("\n", 1)[1]
    return None


def _spaced(parent: Element, nodes: Iterable[Optional[minidom.Node]], before: Optional[minidom.Node]) -> None:
    for node in nodes:
        if node is not None:
            parent.insertBefore(node, before)


def _space(element: Element, text: Optional[str]) -> Optional[minidom.Node]:
    return element.ownerDocument.createTextNode(text) if text else None


def _put_after(parent: Element, element: Element, other: Element) -> None:
    _spaced(parent, [_space(parent, _indent(other)), element], other.nextSibling)


def _put_before(parent: Element, element: Element, other: Element) -> None:
    _spaced(parent, [element, _space(parent, _indent(other))], other)


def _put_alone(parent: Element, element: Element) -> None:
    outer = _indent(parent)
    if outer is None and parent is parent.ownerDocument.documentElement:
        outer = "\n"
    _spaced(parent, [_space(parent, outer + "  " if outer else None), element, _space(parent, outer)], None)

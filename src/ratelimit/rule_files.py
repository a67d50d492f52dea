"""Files of rules -> :class:`ratelimit.rules.RuleSet`: envoyproxy/ratelimit's format and what
we add.

Every finding carries its file and line. One error refuses the whole directory, so what is in
force is always a directory as somebody wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from ruamel.yaml.nodes import MappingNode
from ruamel.yaml.nodes import Node as YamlNode

from ratelimit.algorithms import Algorithm
from ratelimit.errors import Finding, RulesRefused
from ratelimit.limit_reading import LIMIT_FIELDS, MISPLACED, read_limit
from ratelimit.rules import Domain, Node, OnFailure, Parameter, Rule, RuleSet
from ratelimit.yaml_reading import DEPTH_MAX, YamlFile, line_of

# The largest files in public use hold a few thousand descriptors.
DESCRIPTORS_MAX = 100_000
FILE_SIZE_MAX_BYTES = 32 * 2**20

FILE_FIELDS = {
    "domain": "the name that requests carry; one file each",
    "descriptors": "the rules",
    "on_failure": "deny, allow, local or error: the answer while the store is away",
    "all_or_nothing": "nothing is counted for a request that is over one of its limits",
    "one_slot": "all counters on one node of a Redis Cluster",
}
DESCRIPTOR_FIELDS = {
    "key": "of an entry",
    "value": "of an entry; with `*` a pattern; left out, any value",
    "rate_limit": "the limit",
    "descriptors": "rules for the next entry",
    "shadow_mode": "count, but never refuse",
    "quota_mode": "refuse only when every quota of the request is used up",
    "detailed_metric": "metrics by all values of the request",
    "value_to_metric": "metrics by this entry's value",
    "share_threshold": "values that match the pattern count together",
    "metadata": "handed back with the answer when this limit was kept",
    "parameter": "burst or quoted_hits: this entry's value is a number for the limit above",
}
REPLACES_FIELDS = {"name": "of the limit that is replaced"}


def load_directory(directory: Path, *, merge_domains: bool = False) -> RuleSet:
    """The rules of every ``*.yaml`` and ``*.yml`` file directly in a directory.

    Raises :class:`RulesRefused` with every finding when one of them has an error, or cannot be
    read.
    """
    texts = {}
    findings = []
    for path in rule_paths(directory):
        try:
            if path.stat().st_size > FILE_SIZE_MAX_BYTES:
                findings.append(_fault(path.name, f"larger than {FILE_SIZE_MAX_BYTES} bytes"))
            else:
                texts[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            findings.append(_fault(path.name, f"cannot be read: {error}"))
    if findings:
        raise RulesRefused(findings)
    return load_texts(texts, merge_domains=merge_domains)


def rule_paths(directory: Path) -> Sequence[Path]:
    """The files that :func:`load_directory` reads, in order of their names."""
    try:
        paths = sorted(directory.iterdir())
    except OSError as error:
        raise RulesRefused([_fault(str(directory), f"cannot be read: {error}")]) from error
    suffixes = {".yaml", ".yml"}
    return [p for p in paths if p.suffix in suffixes and not p.name.startswith(".") and p.is_file()]


def load_texts(
    texts: Mapping[str, str],
    *,
    merge_domains: bool = False,
    descriptors_max: int = DESCRIPTORS_MAX,
) -> RuleSet:
    """The rules of files given as name and text. Raises :class:`RulesRefused`."""
    domains: dict[str, Domain] = {}
    findings: list[Finding] = []
    room = descriptors_max
    for name, text in texts.items():
        loading = _Loading(YamlFile(name, text), room)
        loading.load(domains, merge_domains=merge_domains)
        findings += loading.file.findings
        room = loading.room
    if any(finding.severity == "error" for finding in findings):
        raise RulesRefused(findings)
    return RuleSet(domains, findings)


class _Loading:
    """One file on its way into the domains."""

    def __init__(self, file: YamlFile, room: int) -> None:
        self.file = file
        self.room = room  # for descriptors
        self.names: dict[str, int] = {}
        self.replaced: list[tuple[str, YamlNode]] = []

    def load(self, domains: dict[str, Domain], *, merge_domains: bool) -> None:
        file = self.file
        if file.broken:
            return
        fields = file.fields(file.root, FILE_FIELDS, MISPLACED)
        name = file.text(fields.get("domain"))
        here = fields.get("domain") or file.root
        line = line_of(here) if here is not None else 1
        if not name:
            file.error(line, "a file needs a domain that is not empty")
        elif name in domains and not merge_domains:
            file.error(line, f"domain '{name}' is in {domains[name].file} already")
        known = domains.get(name)
        domain = known or self._domain(name, fields)
        if known and len(fields.keys() - {"domain", "descriptors"}):
            file.error(line, f"how '{name}' answers is said in {known.file}, its first file")
        self._descriptors(fields.get("descriptors"), domain.root, ())
        for replaced, node in self.replaced:
            if replaced not in self.names and not known and not merge_domains:
                file.warning(node, f"no limit of this domain has the name '{replaced}'")
        domains[name] = domain

    def _domain(self, name: str, fields: Mapping[str, YamlNode]) -> Domain:
        file = self.file
        words = ("deny", "allow", "local", "error")
        on_failure = file.choice(fields.get("on_failure"), words, "")
        return Domain(
            name,
            Node(),
            file.name,
            all_or_nothing=file.boolean(fields.get("all_or_nothing")),
            on_failure=cast("OnFailure", on_failure) if on_failure else None,
            one_slot=file.boolean(fields.get("one_slot")),
        )

    def _descriptors(self, node: YamlNode | None, parent: Node, path: tuple[Node, ...]) -> None:
        if len(path) > DEPTH_MAX and node is not None:
            self.file.error(node, f"descriptors nested deeper than {DEPTH_MAX} levels")
            return
        for item in self.file.items(node, "descriptors"):
            self.room -= 1
            if self.room < 0:
                self.file.error(item, "too many descriptors; aliases count each time")
                return
            self._descriptor(item, parent, path)

    def _descriptor(self, item: YamlNode, parent: Node, path: tuple[Node, ...]) -> None:
        file = self.file
        fields = file.fields(item, DESCRIPTOR_FIELDS, MISPLACED)
        if not isinstance(item, MappingNode):
            return
        node = Node(file.text(fields.get("key")), file.text(fields.get("value")))
        if not node.key:
            file.error(item, "a descriptor needs a key that is not empty")
        if "*" in node.key:
            file.warning(item, f"the `*` in key '{node.key}' is taken literally")
        node.share_threshold = file.boolean(fields.get("share_threshold"))
        if node.share_threshold and "*" not in node.value:
            file.error(item, "share_threshold needs a value with a `*`")
        node.value_to_metric = file.boolean(fields.get("value_to_metric"))
        path = (*path, node)
        if "parameter" in fields:
            self._parameter(fields, node, parent)
        elif parent.parameter:
            file.error(item, "only parameters can follow a parameter")
        else:
            node.rule = self._rule(fields, path)
        self._attach(item, node, parent)
        self._descriptors(fields.get("descriptors"), node, path)

    def _attach(self, item: YamlNode, node: Node, parent: Node) -> None:
        """Put the node below its parent, once."""
        if not node.value:
            taken = parent.any_value.setdefault(node.key, node) is not node
        elif "*" in node.value:
            pattern = tuple(node.value.split("*"))
            siblings = parent.wildcards.setdefault(node.key, [])
            taken = any(pattern == known for known, _ in siblings)
            self._shadowed(item, node, [sibling for _, sibling in siblings])
            siblings.append((pattern, node))
        else:
            entry = (node.key, node.value)
            taken = parent.exact.setdefault(entry, node) is not node
        if taken:
            shown = f"'{node.key}' with value '{node.value}'" if node.value else f"'{node.key}'"
            self.file.error(item, f"descriptor {shown} stands here twice")

    def _shadowed(self, item: YamlNode, node: Node, siblings: Sequence[Node]) -> None:
        for earlier in siblings:
            prefix, _, rest = earlier.value.partition("*")
            if not rest and earlier.value != node.value and node.value.startswith(prefix):
                text = f"'{node.value}' is never reached: '{earlier.value}' comes first"
                self.file.warning(item, text)

    def _parameter(self, fields: Mapping[str, YamlNode], node: Node, parent: Node) -> None:
        file = self.file
        here = fields["parameter"]
        node.parameter = cast(
            "Parameter", file.choice(here, ("burst", "quoted_hits"), "quoted_hits")
        )
        node.rule = parent.rule
        limit = parent.rule.limit if parent.rule else None
        if limit is None:
            file.error(here, "a parameter needs a rate_limit one level above it")
        elif node.parameter == "burst" and limit.algorithm is not Algorithm.TOKEN_BUCKET:
            file.error(here, "only a token_bucket has a burst")
        wrong = fields.keys() - {"key", "parameter", "descriptors"}
        if wrong:
            file.error(here, f"a parameter cannot have {', '.join(sorted(wrong))}")

    def _rule(self, fields: Mapping[str, YamlNode], path: tuple[Node, ...]) -> Rule | None:
        file = self.file
        shadow_mode = file.boolean(fields.get("shadow_mode"))
        quota_mode = file.boolean(fields.get("quota_mode"))
        detailed = file.boolean(fields.get("detailed_metric"))
        metadata = file.plain(fields["metadata"]) if "metadata" in fields else None
        if metadata is not None and not isinstance(metadata, dict):
            file.error(fields["metadata"], "metadata must be fields with values")
        if "rate_limit" not in fields:
            return None
        here = fields["rate_limit"]
        said = file.fields(here, LIMIT_FIELDS, MISPLACED)
        name = file.text(said.get("name"))
        varies = any(n.value_to_metric and not n.share_threshold for n in path)
        return Rule(
            label=".".join(f"{n.key}_{n.value}" if n.value else n.key for n in path),
            file=file.name,
            line=line_of(here),
            limit=read_limit(file, here, said),
            name=name,
            replaces=self._replaces(said.get("replaces"), name),
            shadow_mode=shadow_mode,
            quota_mode=quota_mode,
            detailed_metric=detailed,
            label_varies=detailed or varies,
            metadata=metadata,
        )

    def _replaces(self, node: YamlNode | None, own_name: str) -> frozenset[str]:
        file = self.file
        if own_name:
            self.names.setdefault(own_name, 1)
        names = set()
        for item in file.items(node, "names"):
            name = file.text(file.fields(item, REPLACES_FIELDS, MISPLACED).get("name"))
            if not name:
                file.error(item, "an entry of replaces needs a name")
            elif name == own_name:
                file.error(item, "a limit cannot replace itself")
            else:
                self.replaced.append((name, item))
                names.add(name)
        return frozenset(names)


def _fault(file: str, message: str) -> Finding:
    return Finding(file, 1, "error", message)

"""A kind of import-linter contract for modules that may import next to nothing."""

import sys
from collections.abc import Iterable
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.helpers import module_expressions_to_modules
from importlinter.domain.imports import ModuleExpression


class OnlyContract(Contract):
    """The modules, and all below them, import the standard library, themselves and what is allowed."""

    modules = fields.SetField(subfield=fields.ModuleExpressionField())
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at every direct import of the modules."""
        # import-linter puts what it parsed where the class has its fields.
        expressions = cast(Iterable[ModuleExpression], self.modules)
        offences = []
        for found in sorted(module_expressions_to_modules(graph, expressions), key=str):
            package = found.name
            for module in sorted({package} | graph.find_descendants(package)):
                for imported in sorted(graph.find_modules_directly_imported_by(module)):
                    if not self._may(imported, package):
                        offences.append(f"{module} imports {imported}")
        return ContractCheck(kept=not offences, metadata={"offences": offences})

    def _may(self, imported: str, package: str) -> bool:
        if imported.split(".")[0] in sys.stdlib_module_names:
            return True
        names = {package, *cast(Iterable[str], self.allowed)}
        return any(imported == name or imported.startswith(f"{name}.") for name in names)

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print the imports that are not allowed."""
        for offence in check.metadata["offences"]:
            output.print_error(offence)

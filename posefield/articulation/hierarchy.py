"""What hangs on what: joints in a tree, and the parts that they carry."""

from collections.abc import Sequence
from dataclasses import dataclass

ROOT = -1


@dataclass(frozen=True)
class Hierarchy:
    """What hangs on what.

    Attributes:
        parents: of every joint the joint above it, which comes before it; ROOT for none.
        prismatic: of every joint, whether it slides; else it turns.
        joint_of_part: of every part the joint that carries it; ROOT for none.
    """

    parents: tuple[int, ...]
    prismatic: tuple[bool, ...]
    joint_of_part: tuple[int, ...]

    def carried_by(self, joint: int) -> list[bool]:
        """Return of every joint whether it is this one or below it."""
        carried = [False] * len(self.parents)
        for index, parent in enumerate(self.parents):
            carried[index] = index == joint or (parent != ROOT and carried[parent])
        return carried

    def absorbed(self, joint: int, other: int) -> tuple['Hierarchy', list[int]]:
        """Return the hierarchy in which what a joint carries hangs on another one, not below it.

        And the old indices of the joints that are left, in its order.
        """
        parents = [other if over == joint else over for over in self.parents]
        carriers = [other if over == joint else over for over in self.joint_of_part]
        return self._put_in_order(parents, carriers, {joint})

    def rehung(self, joint: int, parent: int) -> tuple['Hierarchy', list[int]]:
        """Return the hierarchy with a joint on another one, and the old indices in its order."""
        parents = list(self.parents)
        parents[joint] = parent
        return self._put_in_order(parents, self.joint_of_part, set())

    def split(self, part: int) -> 'Hierarchy':
        """Return the hierarchy with a part on a joint of its own, the last one, which turns."""
        carriers = list(self.joint_of_part)
        above, carriers[part] = carriers[part], len(self.parents)
        return Hierarchy((*self.parents, above), (*self.prismatic, False), tuple(carriers))

    def _put_in_order(
        self, parents: Sequence[int], carriers: Sequence[int], dropped: set[int]
    ) -> tuple['Hierarchy', list[int]]:
        left = [index for index in range(len(parents)) if index not in dropped]
        order: list[int] = []
        while left:
            for index in left:
                if parents[index] == ROOT or parents[index] in order:
                    order.append(index)
            left = [index for index in left if index not in order]
        new = {old: index for index, old in enumerate(order)} | {ROOT: ROOT}
        hierarchy = Hierarchy(
            tuple(new[parents[old]] for old in order),
            tuple(self.prismatic[old] for old in order),
            tuple(new[carrier] for carrier in carriers),
        )
        return hierarchy, order

    def to_dict(self) -> dict:
        """Return what JSON holds."""
        return {
            'parents': list(self.parents),
            'prismatic': list(self.prismatic),
            'joint_of_part': list(self.joint_of_part),
        }

    @classmethod
    def from_dict(cls, content: dict) -> 'Hierarchy':
        """Return the hierarchy of `to_dict`."""
        return cls(
            tuple(int(value) for value in content['parents']),
            tuple(bool(value) for value in content['prismatic']),
            tuple(int(value) for value in content['joint_of_part']),
        )

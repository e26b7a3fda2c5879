"""Access tokens: whose they are, and what they allow."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["read", "contributor", "write", "admin"]


@dataclass
class Token:
    """A user access token."""

    user: str
    role: Literal["read", "write", "fineGrained"] = "write"
    """The token's own role. A `fineGrained` one allows only its `scopes`."""
    orgs: Mapping[str, Role] = field(default_factory=dict)
    """The user's role in each organization."""
    scopes: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Permissions such as `repo.content.read` and `repo.write`, by namespace or repository id."""
    expired: bool = False

    def may_read(self, repo_id: str) -> bool:
        """Return whether the token shows a private repository."""
        namespace = repo_id.split("/")[0]
        if self.role == "fineGrained":
            return bool(self._scope(repo_id))
        return namespace == self.user or namespace in self.orgs

    def may_write(self, repo_id: str) -> bool:
        namespace = repo_id.split("/")[0]
        if self.role == "fineGrained":
            return "repo.write" in self._scope(repo_id)
        return self.role == "write" and (namespace == self.user or self.orgs.get(namespace) in ("write", "admin"))

    def may_create(self, repo_id: str) -> bool:
        """Return whether the token may create the repository. Contributors of an organization may, too."""
        namespace = repo_id.split("/")[0]
        return self.may_write(repo_id) or (self.role == "write" and self.orgs.get(namespace) == "contributor")

    def _scope(self, repo_id: str) -> set[str]:
        return {*self.scopes.get(repo_id.split("/")[0], ()), *self.scopes.get(repo_id, ())}

    def whoami(self) -> dict[str, Any]:
        """Return the response to `GET /api/whoami-v2` (hf_api.py: whoami returns it unchanged)."""
        access: dict[str, Any] = {"displayName": "test", "role": self.role}
        if self.role == "fineGrained":
            access["fineGrained"] = {
                "global": [],
                "scoped": [
                    {"entity": {"type": "dataset" if "/" in name else "user", "name": name}, "permissions": [*given]}
                    for name, given in self.scopes.items()
                ],
            }
        return {
            "type": "user",
            "id": f"id-of-{self.user}",
            "name": self.user,
            "fullname": self.user,
            "orgs": [
                {"type": "org", "id": f"id-of-{name}", "name": name, "fullname": name, "roleInOrg": role}
                for name, role in self.orgs.items()
            ],
            "auth": {"type": "access_token", "accessToken": access},
        }

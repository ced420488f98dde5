"""What filters, keywords and metadata are refused with."""


class FilterError(ValueError):
    """`field` is the path to the member (`filter.must[0].range.gte`), `detail` one sentence with the remedy."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field} {detail}")
        self.field = field
        self.detail = detail

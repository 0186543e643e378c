"""Classifier of images, used to evaluate samples and to extract features."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkit._checks import check_count
from flowkit._training_mode import evaluating
from flowkit.errors import ContextError, DataError, ShapeError
from flowkit.nets import ConvEncoder
from flowkit.training import Batch, Step, mean_over_rows


class Judgement(NamedTuple):
    """Predictions of a classifier for samples.

    Attributes:
        confident: share of samples whose most probable class has a probability above 0.9.
        shares: share of each predicted class, ``(classes,)``.
    """

    confident: float
    shares: Tensor


class ImageClassifier(nn.Module):
    """Convolutions of stride 2 and two linear layers; `fit` takes the classes as context.

    Args:
        image: (channels, height, width); rows may be flat.
        classes: number of classes.
        channels: channels of the convolutions.
        features: width of the last hidden layer.

    Example:
        >>> from flowkit.training import fit
        >>> classifier = ImageClassifier((1, 8, 8), 2, channels=(4, 8), features=16)
        >>> x, y = torch.rand(40, 64), torch.arange(40) % 2
        >>> history = fit(classifier, x, context=y, steps=5)
        >>> classifier(x).shape, classifier.features(x).shape
        (torch.Size([40, 2]), torch.Size([40, 16]))
    """

    def __init__(
        self,
        image: Sequence[int],
        classes: int,
        *,
        channels: Sequence[int] = (32, 64),
        features: int = 64,
    ) -> None:
        super().__init__()
        self.classes = check_count("classes", classes, 2)
        self.body = ConvEncoder(image, features, channels=channels, hidden=())
        self.head = nn.Linear(features, classes)
        self.dropout = nn.Dropout(0.3)

    def features(self, x: Tensor) -> Tensor:
        """Return the last hidden layer, ``(n, features)``."""
        hidden: Tensor = self.body(x)
        return torch.relu(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, ``(n, classes)``."""
        logits: Tensor = self.head(self.dropout(self.features(x)))
        return logits

    @torch.no_grad()
    def judge(self, samples: Tensor) -> Judgement:
        """Return the confidence of predicted classes and the share of each class.

        Raises:
            ShapeError: no samples.
        """
        if not len(samples):
            raise ShapeError("samples", "at least one row", tuple(samples.shape))
        with evaluating(self):
            probabilities = torch.cat([self(part).softmax(1) for part in samples.split(1_000)])
        largest, label = probabilities.max(1)
        shares = torch.bincount(label, minlength=self.classes).double() / len(samples)
        return Judgement((largest > 0.9).double().mean().item(), shares)

    @torch.no_grad()
    def error(self, x: Tensor, labels: Tensor) -> float:
        """Return the share of rows whose most probable class is not the label."""
        if labels.shape != (len(x),):
            raise ShapeError("labels", f"a class for each row, ({len(x)},)", tuple(labels.shape))
        with evaluating(self):
            classes = torch.cat([self(part).argmax(1) for part in x.split(1_000)])
        return (classes != labels).double().mean().item()

    def training_steps(self) -> dict[str, Step]:
        """Return the training step of `flowkit.training.fit`: the cross-entropy of the classes."""

        def loss(batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
            del generator
            assert batch.context is not None  # noqa: S101  check_rows requires a context
            losses = F.cross_entropy(self(batch.x), batch.context.long(), reduction="none")
            return {"cross_entropy": mean_over_rows(losses, batch.weights)}

        return {"classifier": Step(self.parameters(), loss)}

    def check_rows(self, x: Tensor, context: Tensor | None = None) -> None:
        """Raise unless every row has a class.

        Raises:
            DataError: a label outside of the classes; the row is named.
        """
        if context is None:
            raise ContextError("context", "the classes of the rows, (n,)", None)
        if context.shape != (len(x),):
            raise ShapeError("context", f"a class for each row, ({len(x)},)", tuple(context.shape))
        checked_classes("context", context, self.classes)
        with torch.no_grad(), evaluating(self):
            self(x[:2])


def checked_classes(argument: str, labels: Tensor, classes: int) -> Tensor:
    """Return labels ``(n,)`` as integers.

    Raises:
        DataError: a label is not an integer in [0, classes); the row is named.
    """
    numbers = labels.double()
    # Negated, so that NaN is invalid, too.
    bad = ~((numbers >= 0) & (numbers < classes) & (numbers == numbers.round()))
    if bad.any():
        row = int(bad.nonzero()[0])
        expected = f"a class, 0 to {classes - 1}"
        raise DataError(f"{argument}, row {row}", expected, labels[row].item())
    return labels.long()

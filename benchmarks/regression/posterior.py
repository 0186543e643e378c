"""Neural posterior estimation of sbi as a method of regression."""

from contextlib import redirect_stdout
from io import StringIO
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from regression.data import Split
from regression.predictive import Prediction, Predictive


def posterior(data: Split, seed: int, quick: bool) -> Prediction:
    """Neural posterior estimation of sbi: a spline flow of one dimension, early stopping."""
    from sbi.inference import NPE
    from torch.utils.tensorboard import SummaryWriter

    torch.manual_seed(seed)
    # Of tiny targets, single precision would leave nothing.
    middle, scale = data.y.mean(), data.y.std()
    y = torch.tensor((data.y - middle) / scale, dtype=torch.float32)[:, None]
    spread = data.x.std(0)
    used = spread > 1e-9 * np.abs(data.x.mean(0))
    x, x_test = (
        torch.tensor((part - data.x.mean(0))[:, used] / spread[used], dtype=torch.float32)
        for part in (data.x, data.x_test)
    )
    limit = {"max_num_epochs": 3} if quick else {}
    batch = min(200, len(x) // 5)
    # Its progress and its logs are not kept.
    with redirect_stdout(StringIO()), TemporaryDirectory() as logs:
        writer = SummaryWriter(logs)
        inference = NPE(
            density_estimator="zuko_nsf", summary_writer=writer, show_progress_bars=False
        )
        net = inference.append_simulations(y, x).train(training_batch_size=batch, **limit)
        writer.close()
    return lambda: Flow(net, x_test, float(middle), float(scale))


class Flow(Predictive):
    """A flow of one dimension: the distribution function is that of the normal base."""

    def __init__(self, net: torch.nn.Module, x: Tensor, middle: float, scale: float) -> None:
        with torch.no_grad():
            self.flow = net.double().net(x.double())
        self.middle, self.scale = middle, scale

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            inside = self.flow.log_prob(self._standard(y)[:, None])
        result: np.ndarray = inside.numpy() - np.log(self.scale)
        return result

    def cdf(self, points: np.ndarray) -> np.ndarray:
        # The distributions are those of the rows, so points come first.
        with torch.no_grad():
            z = self.flow.transform(self._standard(points).T[..., None])
        result: np.ndarray = torch.special.ndtr(z)[..., 0].T.numpy()
        return result

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        z = torch.tensor(ndtri(levels))[:, None, None]
        size = (len(levels), self.flow.batch_shape[0], 1)
        with torch.no_grad():
            y = self.flow.transform.inv(z.expand(size))
        result: np.ndarray = self.middle + self.scale * y[..., 0].T.numpy()
        return result

    def _standard(self, y: np.ndarray) -> Tensor:
        return torch.tensor((y - self.middle) / self.scale)

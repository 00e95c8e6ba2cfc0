"""Hold the default options of training each family of models, for commands and experiments alike."""

from __future__ import annotations

from typing import Final

from models.nets.value import ValueConfig
from models.training.loop import TrainOptions

SORT_GEN_OPTIONS: Final = TrainOptions(epochs=12, weight_decay=0.05)
EVALUATOR: Final = ValueConfig(dim=128, layers=6, dropout=0.0, input_block="fields")
"""DeGRe's N_E = 6 layers over its own input block (§5.1.4)."""
EVALUATOR_OPTIONS: Final = TrainOptions(epochs=3, learning_rate=2e-3)
GENERATOR_OPTIONS: Final = TrainOptions(epochs=10, batch_size=128, learning_rate=1e-3)

"""What an image model is made of, in plain values: everything that `build_model` needs, fit for YAML.

Symbols: A components, d latent dimensions, H x W pixels of C channels. The defaults of `preset` are the published
networks (Hotti et al. 2024, and the code published with it) for 28 x 28 and for colour images, and a small network
of the same kind for 8 x 8 digits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vbpi_mix.errors import ConfigError

Likelihood = Literal["bernoulli", "discretised_logistic"]
EncoderKind = Literal["shared", "separate"]
NormKind = Literal["layer", "none", "batch"]
FeatureKind = Literal["gated", "resnet20", "dense"]
DecoderKind = Literal["autoregressive", "dense"]
FlowKind = Literal["none", "iaf"]
PriorKind = Literal["normal", "learned", "vamp"]
Family = Literal["vanilla", "hierarchical", "iaf", "vamp", "composite", "iwae"]

VALID, NO_LIKELIHOOD = "valid", "not a valid likelihood"
CHOICES: dict[str, tuple[str, ...]] = {
    "likelihood": ("bernoulli", "discretised_logistic"),
    "encoder": ("shared", "separate"),
    "norm": ("layer", "none", "batch"),
    "features": ("gated", "resnet20", "dense"),
    "decoder": ("autoregressive", "dense"),
    "flow": ("none", "iaf"),
    "prior": ("normal", "learned", "vamp"),
}
COUNTS = (
    "components", "latent", "pixel_channels", "pixel_layers", "logistics", "levels", "hidden", "flow_steps", "flow_hidden",
    "pseudo_inputs",
)  # fmt: skip


def _check_layers(name: str, layers: tuple[tuple[int, int, int], ...]) -> None:
    for layer in layers:
        if len(layer) != 3:
            raise ConfigError(f"{name} are (channels, kernel, stride) each, not {layer!r}")
        for part, value in zip(("channels", "kernel", "stride"), layer, strict=True):
            _check_positive(f"{part} of {name}", value)


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}")


@dataclass(frozen=True)
class ImageShape:
    """C, H, W. ConfigError unless all are at least 1."""

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width"):
            _check_positive(name, getattr(self, name))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def pixels(self) -> int:
        """C H W, what bits per dimension are per."""
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True)
class ModelSpec:
    """Choices of one image model. ConfigError, one line, if a value is unknown or two do not fit.

    shape            of one image
    components       A
    latent           d, also the width of the hidden layers that make the Gaussians' parameters
    likelihood       bernoulli (one channel; the decoder is a PixelCNN on image and latent plane), or
                     discretised_logistic (three channels; transposed convolutions and gated masked layers)
    encoder          shared: one feature network, and component codes that enter as biases (MISVAE);
                     separate: a network of its own for each component (SEMVAE)
    residual         two hidden layers with skips between features and Gaussians (the published `res_enc=1`), or
                     one linear map; separate encoders always have the linear map
    norm             of decoder and ResNet. layer: over the channels of one pixel, so that an image is treated by
                     itself; batch: over the batch while training; none
    paper_compat     normalise by the batch in evaluation too, as the published code does: then log p(x|z) depends on
                     the other images, and nothing made from it is a valid likelihood. Needs norm batch
    features         gated convolutions, a ResNet-20 of three channels, or two gated dense layers
    decoder          autoregressive: see likelihood; dense: two gated dense layers and a logit for each pixel (Bernoulli only)
    feature_layers   (channels, kernel, stride) of each gated convolution
    pixel_channels   channels of the masked layers
    pixel_layers     how many masked layers
    logistics        mixture size of the discretised-logistic likelihood
    levels           1, or 2: z2 from the encoder, z1 from q(z1|x, z2) and p(z1|z2), d dimensions each; the decoder sees both
    lower_layers     feature_layers of q(z1|x, z2), for two levels
    hidden           width of gated dense layers: of dense features and decoder, of q(z1|x, z2) and p(z1|z2)
    flow             of z1, or of the only level: none, or iaf, shared by the components
    flow_steps, flow_hidden    steps, and units in the hidden layers of each
    prior            of the upper level, or of the only one: normal, learned (a Gaussian), or vamp (the encoder at pseudo-inputs)
    pseudo_inputs    how many
    """

    shape: ImageShape
    components: int
    latent: int
    likelihood: Likelihood = "bernoulli"
    encoder: EncoderKind = "shared"
    residual: bool = True
    norm: NormKind = "layer"
    paper_compat: bool = False
    features: FeatureKind = "gated"
    decoder: DecoderKind = "autoregressive"
    feature_layers: tuple[tuple[int, int, int], ...] = ()
    pixel_channels: int = 64
    pixel_layers: int = 8
    logistics: int = 10
    levels: int = 1
    lower_layers: tuple[tuple[int, int, int], ...] = ()
    hidden: int = 300
    flow: FlowKind = "none"
    flow_steps: int = 2
    flow_hidden: int = 320
    prior: PriorKind = "normal"
    pseudo_inputs: int = 500

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        for name in COUNTS:
            _check_positive(name, getattr(self, name))
        for name in ("residual", "paper_compat"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, not {getattr(self, name)!r}")
        for layers in ("feature_layers", "lower_layers"):
            _check_layers(layers, getattr(self, layers))
        self._check_combinations()
        self._check_parts()

    def _check_combinations(self) -> None:
        shape = self.shape
        if self.paper_compat and self.norm != "batch":
            raise ConfigError("paper_compat needs norm batch: it is the published normalisation")
        if self.features == "gated" and not self.feature_layers:
            raise ConfigError("gated features need feature_layers: (channels, kernel, stride) of each")
        if self.features == "resnet20" and (shape.channels != 3 or self.encoder == "separate"):
            raise ConfigError("resnet20 features are for a shared encoder and images of 3 channels")
        if self.decoder == "dense" and self.likelihood != "bernoulli":
            raise ConfigError("the dense decoder is for the Bernoulli likelihood: give autoregressive")
        if self.likelihood == "bernoulli" and shape.channels != 1:
            raise ConfigError(f"the Bernoulli likelihood is for images of 1 channel, not {shape.channels}")
        fits = shape.channels == 3 and shape.height % 8 == 0 and shape.width % 8 == 0
        if self.likelihood == "discretised_logistic" and not fits:
            raise ConfigError(
                "the discretised-logistic likelihood is for images of 3 channels whose height and width "
                f"are multiples of 8, not {shape}"
            )

    def _check_parts(self) -> None:
        if self.levels > 2:
            raise ConfigError(f"levels must be 1 or 2, not {self.levels}")
        if self.levels == 2 and not self.lower_layers:
            raise ConfigError("two levels need lower_layers: (channels, kernel, stride) of each")
        if self.prior == "vamp" and self.features == "resnet20" and self.norm == "batch":
            raise ConfigError(
                "a VampPrior does not go with batch statistics in the encoder: give norm layer, or separate encoders"
            )

    @property
    def dimensions(self) -> int:
        """D, of the latent on all levels together."""
        return self.latent * self.levels

    @property
    def width(self) -> int:
        """Numbers that the densities of one latent under one component need at once."""
        return self.latent if self.levels == 1 else max(2 * self.latent, 4 * self.hidden)

    @property
    def prior_follows(self) -> bool:
        """Whether no level has a prior of fixed scale: encoder and prior can shrink together until latents tell nothing."""
        return self.prior != "normal" or self.levels == 2

    @property
    def parts_label(self) -> str:
        """What the model has beyond the plain one, for people: nothing, or as in "two levels, IAF, VampPrior"."""
        found = {"two levels": self.levels == 2, "IAF": self.flow == "iaf", "VampPrior": self.prior == "vamp"}
        found |= {"dense features": self.features == "dense", "dense decoder": self.decoder == "dense"}
        return ", ".join(name for name, has in {**found, "learned prior": self.prior == "learned"}.items() if has)

    def differences_label(self, name: str) -> str:
        """What the model has beyond the plain one of a data set, its encoders and sizes too, for people, or nothing."""
        plain = preset(name, self.components, encoder=self.encoder, paper_compat=self.paper_compat)
        found = {"separate encoders": self.encoder == "separate", self.parts_label: bool(self.parts_label)}
        found["linear heads"] = self.encoder == "shared" and not self.residual
        found[f"d = {self.latent}"] = self.latent != plain.latent
        found[f"masked layers: {self.pixel_layers}"] = self.pixel_layers != plain.pixel_layers
        found[f"norm {self.norm}"] = self.norm != plain.norm
        return ", ".join(words for words, has in found.items() if has)

    @property
    def valid_likelihood(self) -> bool:
        """Whether log p(x|z) is that of one image by itself in evaluation; if not, say so beside every number."""
        return not self.paper_compat

    @property
    def likelihood_label(self) -> str:
        """What is written beside every likelihood."""
        return VALID if self.valid_likelihood else NO_LIKELIHOOD

    @property
    def likelihood_note(self) -> str:
        """What people are told beside every likelihood: nothing, or that it is not valid."""
        return "" if self.valid_likelihood else self.likelihood_label

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for YAML and for checkpoints."""
        values = dataclasses.asdict(self)
        for layers in ("feature_layers", "lower_layers"):
            values[layers] = [list(layer) for layer in values[layers]]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSpec:
        """The inverse of `to_dict`. ConfigError for anything else."""
        try:
            plain = dict(values)
            plain["shape"] = ImageShape(**plain["shape"])
            for layers in ("feature_layers", "lower_layers"):
                plain[layers] = tuple(tuple(layer) for layer in plain.get(layers, ()))
            return cls(**plain)
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(f"this does not describe an image model: {error}") from error


# f_D2H of 28 x 28 images, published.
PUBLISHED_FEATURES = ((32, 7, 1), (32, 3, 2), (64, 5, 1), (64, 3, 2), (6, 3, 1))
# The same kind of network where 8 x 8 pixels are all there is.
SMALL_FEATURES = ((16, 3, 1), (16, 3, 2), (32, 3, 1), (6, 3, 1))

# Of the lower level, published.
PUBLISHED_LOWER = tuple((channels, 3, stride) for channels, _, stride in PUBLISHED_FEATURES)

_GREY = {
    "shape": ImageShape(1, 28, 28),
    "latent": 40,
    "feature_layers": PUBLISHED_FEATURES,
    "lower_layers": PUBLISHED_LOWER,
}
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        "shape": ImageShape(1, 8, 8),
        "latent": 8,
        "feature_layers": SMALL_FEATURES,
        "lower_layers": SMALL_FEATURES,
        "pixel_channels": 32,
        "pixel_layers": 1,
        "hidden": 32,
        "flow_hidden": 32,
        "pseudo_inputs": 50,
    },
    "mnist": _GREY,
    "fashion_mnist": _GREY,
    "cifar10": {
        "shape": ImageShape(3, 32, 32),
        "latent": 128,
        "likelihood": "discretised_logistic",
        "features": "resnet20",
        "lower_layers": PUBLISHED_LOWER,
        "pixel_layers": 4,
    },
}

# What a family of models adds to the plain one; composite is the sum of the others.
_HIERARCHICAL: dict[str, Any] = {"levels": 2}
_IAF: dict[str, Any] = {"flow": "iaf"}
_VAMP: dict[str, Any] = {"prior": "vamp"}
FAMILIES: dict[Family, dict[str, Any]] = {
    "vanilla": {},
    "hierarchical": _HIERARCHICAL,
    "iaf": _IAF,
    "vamp": _VAMP,
    "composite": {**_HIERARCHICAL, **_IAF, **_VAMP},
    "iwae": {},
}


def preset(name: str, components: int, **changes: Any) -> ModelSpec:
    """The model of a data set, A = `components`, with `changes` to fields of ModelSpec (FAMILIES has some).

    `paper_compat=True` implies norm batch. Separate encoders of cifar10 take gated features, as a ResNet has
    normalisation of its own. ConfigError for an unknown name or for what does not fit.
    """
    if name not in PRESETS:
        raise ConfigError(f"no image model is named {name!r}: there are {', '.join(PRESETS)}")
    values = {**PRESETS[name], **changes}
    if values.get("paper_compat"):
        values.setdefault("norm", "batch")
    if values.get("encoder") == "separate" and values.get("features") == "resnet20":
        values.update(features="gated", feature_layers=values.get("feature_layers") or PUBLISHED_FEATURES)
    return ModelSpec(components=components, **values)

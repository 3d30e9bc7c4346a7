"""Model cards: a ready-made model in one TOML file, read by Python and by the command line."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, fields, replace
from importlib.resources import as_file, files
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from bayesgmm.errors import InputError
from bayesgmm.knowledge.variant_matching import Ambiguous, Cases, Duplicates, Initial, Match, Scale
from bayesgmm.model import Mixture
from bayesgmm.priors import (
    DfGamma,
    Dirichlet,
    EffectsPrior,
    Flat,
    Jeffreys,
    JeffreysWeights,
    LogOddsCauchy,
    LogOddsGroups,
    LogOddsHorseshoe,
    LogOddsLaplace,
    LogOddsNormal,
    LogOddsSpikeSlab,
    LogOddsStudentT,
    NormalInverseWishart,
    Priors,
    ShiftsNormal,
)

if TYPE_CHECKING:
    from bayesgmm.knowledge.earlier import EarlierEffects
    from bayesgmm.study import Study

Number = int | float
ByPredictor = float | dict[str, float]

_FAMILIES: dict[str, type[EffectsPrior]] = {
    "normal": LogOddsNormal,
    "log-odds-normal": LogOddsNormal,
    "student-t": LogOddsStudentT,
    "cauchy": LogOddsCauchy,
    "laplace": LogOddsLaplace,
    "spike-slab": LogOddsSpikeSlab,
    "groups": LogOddsGroups,
    "horseshoe": LogOddsHorseshoe,
}
_NUMBERS = (
    *("sd", "mean", "df", "inclusion", "spike"),
    *("groups", "between", "expected", "slab", "slab_df", "pseudo_sd"),
)


# what a value may be, by what pydantic says that it is not
_ALLOWED = {
    "bool_type": ["true", "false"],
    "int_type": ["a whole number"],
    "float_type": ["a number"],
    "string_type": ["text"],
    "list_type": ["a list"],
    "dict_type": ["a table of keys and values"],
}


class _Section(BaseModel):
    # strict: "yes" is text, and neither true nor a number
    model_config = ConfigDict(extra="forbid", strict=True)


class About(_Section):
    """``[card]``: what the model is for."""

    name: str
    description: str = ""
    reference: str = ""


class StudyOptions(_Section):
    """``[study]``: how the files are read; the options of :func:`bayesgmm.read_study`."""

    id_column: str | None = None
    trait_columns: list[str] | None = None
    covariate_columns: list[str] | None = None
    variants: list[str] | None = None
    genotype_coding: dict[str, float] | None = None
    trait_transform: dict[str, str] | None = None
    units: dict[str, str] | None = None
    sample_weight: str | None = None


class ModelSection(_Section):
    """``[model]``: the specification."""

    n_components: int = Field(ge=1)
    covariance: str = "VVV"
    weights: str | None = None
    means: str | None = None
    reference: int = Field(default=0, ge=0)
    missing_genotypes: Literal["average", "mean"] = "average"
    compress: bool | None = None
    noise: bool | float = False
    spike: float | list[float] | None = None
    df: float | Literal["each", "shared"] | None = None


class WeightsPrior(_Section):
    """``[priors.weights]``: Dirichlet, or Jeffreys."""

    family: Literal["dirichlet", "jeffreys", "flat"] = Field(
        default="dirichlet", validation_alias=AliasChoices("family", "kind")
    )
    concentration: float | list[float] = 2.0

    def prior(self) -> Dirichlet | JeffreysWeights | Flat:
        """The prior that the section describes."""
        if self.family == "dirichlet":
            return Dirichlet(self.concentration)
        return JeffreysWeights() if self.family == "jeffreys" else Flat()


class ComponentsPrior(_Section):
    """``[priors.components]``: Normal-Inverse-Wishart, or Jeffreys."""

    family: Literal["normal-inverse-wishart", "jeffreys", "flat"] = Field(
        default="normal-inverse-wishart", validation_alias=AliasChoices("family", "kind")
    )
    mean: list[float] | None = None
    strength: float = 0.01
    dof: float | None = None
    scale: float | list[list[float]] | None = None

    def prior(self) -> NormalInverseWishart | Jeffreys | Flat:
        """The prior that the section describes."""
        if self.family == "normal-inverse-wishart":
            return NormalInverseWishart(**self.model_dump(exclude={"family"}))
        return Jeffreys() if self.family == "jeffreys" else Flat()


class EffectsSection(_Section):
    """``[priors.effects]``: a family on the log odds ratios and its numbers, or summary statistics of an earlier study.

    The keys from ``earlier`` on are the options of :func:`bayesgmm.read_earlier_effects`; ``sd`` and ``mean`` are then
    the prior of predictors without an earlier effect. ``scale`` is a number for the families that have one, and says
    what an earlier study's effects are.
    """

    # cards written before there were others say kind = "log-odds-normal"
    family: Literal[
        "normal", "student-t", "cauchy", "laplace", "spike-slab", "groups", "horseshoe", "flat", "log-odds-normal"
    ] = Field(default="normal", validation_alias=AliasChoices("family", "kind"))
    sd: ByPredictor | None = None
    mean: ByPredictor | None = None
    scale: Scale | ByPredictor | None = None
    df: ByPredictor | None = None
    inclusion: ByPredictor | None = None
    spike: ByPredictor | None = None
    groups: str | dict[str, list[str]] | None = None
    between: float | None = None
    expected: float | None = None
    slab: float | None = None
    slab_df: float | None = None
    pseudo_sd: float | None = None
    frequency_power: float | None = None
    earlier: str | None = None
    discount: float = Field(default=1.0, gt=0, le=1)
    heterogeneity: float = Field(default=0.0, ge=0)
    initial: Initial = "flat"
    trait: str | None = None
    trait_sd: float | None = Field(default=None, gt=0)
    cases: Cases = "high"
    match: Match = "id"
    alleles: str | None = None
    ambiguous: Ambiguous = "drop"
    frequency_margin: float = Field(default=0.1, ge=0, lt=0.5)
    duplicates: Duplicates = "error"
    columns: dict[str, str] | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> EffectsSection:
        of_earlier = self.model_fields_set - {"family", "earlier", "frequency_power", "scale", *_NUMBERS}
        if isinstance(self.scale, str):
            of_earlier.add("scale")
        if self.earlier is None and of_earlier:
            raise ValueError(f"{min(of_earlier)} is of an earlier study, and the key earlier, its file, is missing")
        if self.family == "flat":
            if self.earlier is not None or self.frequency_power is not None:
                raise ValueError("a flat prior of the effects has no earlier study and no frequency_power")
            return self
        if self.earlier is not None and self.is_not_normal:
            raise ValueError(f"an earlier study makes normal priors, and not of the family {self.family!r}")
        has = [field.name for field in fields(_FAMILIES[self.family])]
        for key in self._numbers():
            if key not in has:
                raise ValueError(f"{key} is not of the family {self.family!r}, which has {', '.join(has)}")
        for field in fields(_FAMILIES[self.family]):
            if field.default is MISSING and getattr(self, field.name) is None:
                raise ValueError(f"the family {self.family!r} needs {field.name}")
        return self

    @property
    def is_not_normal(self) -> bool:
        """Whether the effects have another family than the normal."""
        return _FAMILIES.get(self.family) is not LogOddsNormal

    def _numbers(self) -> dict[str, Any]:
        given = {key: getattr(self, key) for key in (*_NUMBERS, "scale")}
        is_option = isinstance(self.scale, str)  # of an earlier study
        return {key: value for key, value in given.items() if value is not None and not (key == "scale" and is_option)}

    def prior(self) -> EffectsPrior:
        """The prior that the section describes, apart from any earlier study; not of a flat one."""
        return _FAMILIES[self.family](**self._numbers())


class ShiftsPrior(_Section):
    """``[priors.shifts]``: normal on the slopes of the means' covariates."""

    family: Literal["normal", "flat"] = Field(default="normal", validation_alias=AliasChoices("family", "kind"))
    sd: float = 10.0

    def prior(self) -> ShiftsNormal | Flat:
        """The prior that the section describes."""
        return ShiftsNormal(self.sd) if self.family == "normal" else Flat()


class DfPrior(_Section):
    """``[priors.df]``: gamma on degrees of freedom that are estimated."""

    family: Literal["gamma", "flat"] = "gamma"
    shape: float = 2.0
    rate: float = 0.1

    def prior(self) -> DfGamma | Flat:
        """The prior that the section describes."""
        return DfGamma(self.shape, self.rate) if self.family == "gamma" else Flat()


class PriorsSection(_Section):
    """``[priors]``."""

    weights: WeightsPrior = Field(default_factory=WeightsPrior)
    components: ComponentsPrior = Field(default_factory=ComponentsPrior)
    effects: EffectsSection = Field(default_factory=EffectsSection)
    shifts: ShiftsPrior = Field(default_factory=ShiftsPrior)
    df: DfPrior = Field(default_factory=DfPrior)


class FitOptions(_Section):
    """``[fit]``: options of :meth:`bayesgmm.Mixture.fit`."""

    seed: int = 0
    restarts: int = Field(default=10, ge=1)
    max_iterations: int = Field(default=5000, ge=1)
    tolerance: float = Field(default=1e-8, gt=0)


class SampleOptions(_Section):
    """``[sample]``: options of :meth:`bayesgmm.Mixture.sample`."""

    seed: int = 0
    draws: int = Field(default=1000, ge=4)
    tune: int = Field(default=500, ge=50)
    chains: int = Field(default=4, ge=1)


class SensitivityOptions(_Section):
    """``[sensitivity]``: options of :func:`bayesgmm.prior_study`, for ``bayesgmm sensitivity`` and ``report``."""

    engine: Literal["map", "laplace", "nuts"] = "map"
    grid: dict[str, list[Any]] | None = None
    settings: list[dict[str, Any]] | None = None
    draws: int | None = Field(default=None, ge=100)
    seed: int = 0

    @model_validator(mode="after")
    def _one_of_them(self) -> SensitivityOptions:
        if self.grid is not None and self.settings is not None:
            raise ValueError("grid and settings are both given; keep one")
        return self


class SelectOptions(_Section):
    """``[select]``: options of :func:`bayesgmm.select`, for ``bayesgmm select``."""

    n_components: list[int] = Field(default_factory=lambda: [1, 2, 3, 4, 5], min_length=1)
    covariance: str | list[str] | None = None
    weights: list[str] | None = None
    noise: list[bool | float] | None = Field(default=None, min_length=1)
    df: list[float | Literal["gaussian", "each", "shared"]] | None = Field(default=None, min_length=1)
    criterion: str = "bic"
    also: list[str] = Field(default_factory=list)
    engine: Literal["auto", "laplace", "nuts"] = "auto"
    bootstrap: int = Field(default=199, ge=19)

    def formulas(self) -> list[str | None] | None:
        """Formulas of the weights; an empty one is none."""
        return None if self.weights is None else [formula or None for formula in self.weights]

    def tails(self) -> list[float | str | None]:
        """Degrees of freedom; None for Gaussian components."""
        return [None if df == "gaussian" else df for df in self.df or ["gaussian"]]


class BootstrapOptions(_Section):
    """``[bootstrap]``: options of :func:`bayesgmm.bootstrap`, for ``bayesgmm bootstrap`` and ``report``."""

    kind: Literal["nonparametric", "weighted", "parametric"] = "nonparametric"
    draws: int = Field(default=1000, ge=2)
    seed: int = 0
    restarts: int = Field(default=1, ge=1)
    level: float = Field(default=0.95, gt=0, lt=1)
    method: Literal["percentile", "basic", "bca", "normal"] = "percentile"


class TestsOptions(_Section):
    """``[tests]``: options of :func:`bayesgmm.test_effect`, for ``bayesgmm test-effect`` and ``report``."""

    predictors: list[str | list[str]] | None = None
    tests: list[Literal["lr", "score", "permutation", "bootstrap"]] | None = Field(default=None, min_length=1)
    draws: int = Field(default=999, ge=1)
    permutations: int = Field(default=9999, ge=1)
    stop_after: int | None = Field(default=None, ge=1)
    seed: int = 0
    restarts: int = Field(default=10, ge=1)


class FitManyOptions(_Section):
    """``[fit_many]``: options of :func:`bayesgmm.fit_many`, for ``bayesgmm fit-many``.

    The prior of weights and components is that of ``[priors]``; ``pairs`` is a file beside the card.
    """

    n_components: list[int] = Field(default_factory=lambda: [1, 2, 3, 4], min_length=1)
    covariance: str | list[str] | None = None
    criterion: Literal["bic", "icl"] = "bic"
    pairs: str | None = None
    transpose: bool = False
    seed: int = 0
    restarts: int = Field(default=10, ge=1)
    max_iterations: int = Field(default=500, ge=1)
    tolerance: float = Field(default=1e-8, gt=0)


class Card(_Section):
    """A validated model card; ``model`` may only be left out of one of many mixtures, beside ``fit_many``."""

    card: About
    study: StudyOptions = Field(default_factory=StudyOptions)
    model: ModelSection | None = None
    priors: PriorsSection = Field(default_factory=PriorsSection)
    fit: FitOptions = Field(default_factory=FitOptions)
    sample: SampleOptions = Field(default_factory=SampleOptions)
    sensitivity: SensitivityOptions | None = None
    select: SelectOptions | None = None
    bootstrap: BootstrapOptions | None = None
    tests: TestsOptions | None = None
    fit_many: FitManyOptions | None = None
    _folder: Path = PrivateAttr(default_factory=Path)
    _read: tuple[Study, EarlierEffects] | None = PrivateAttr(default=None)

    def mixture(self, study: Study | None = None) -> Mixture:
        """Specification that the card describes.

        Parameters
        ----------
        study : Study, optional
            Needed where the prior of the effects depends on it: an earlier study, or allele frequencies.

        Raises
        ------
        InputError
            If the study is needed and not given, or the earlier study cannot be used.
        """
        effects = self.priors.effects
        if effects.family == "flat":
            return self._mixture(Flat())
        earlier = self.earlier_effects(study)
        return self._mixture(self._own_effects(study) if earlier is None else earlier.prior)

    def earlier_effects(self, study: Study | None) -> EarlierEffects | None:
        """What the card's earlier study says of a study's predictors; None when it names none."""
        effects = self.priors.effects
        if effects.earlier is None:
            return None
        if study is None:
            raise InputError(
                "priors.effects.earlier: an earlier study is matched to the variants of a study; give it, "
                "load_card(path).mixture(study) or Mixture.from_card(path, study)"
            )
        if self._read is None or self._read[0] is not study:
            self._read = (study, self._read_earlier(study, effects))
        return self._read[1]

    def _read_earlier(self, study: Study, effects: EffectsSection) -> EarlierEffects:
        from bayesgmm.knowledge.earlier import read_earlier_effects

        own = {"family", "earlier", "frequency_power", "alleles", *_NUMBERS}
        options: dict[str, Any] = effects.model_dump(exclude=own)
        options["scale"] = options["scale"] or "log_odds"
        if effects.scale == "trait":
            # two components of the trait by themselves: the effects are not known yet
            alone = replace(self._mixture(LogOddsNormal()), weights=None)
            options["components"] = alone.fit(study, **self.fit.model_dump())
        alleles = effects.alleles
        return read_earlier_effects(
            self._folder / str(effects.earlier),
            study,
            weights=self._specified.weights,
            default=self._normal_effects(study),
            reference=self._specified.reference,
            n_components=self._mixture(LogOddsNormal()).n_all,
            alleles=alleles if alleles in (None, "same") else self._folder / str(alleles),
            **options,
        )

    def _normal_effects(self, study: Study) -> LogOddsNormal:
        prior = self._own_effects(study)
        assert isinstance(prior, LogOddsNormal)  # what the section refuses beside an earlier study
        return prior

    def _own_effects(self, study: Study | None) -> EffectsPrior:
        """Prior of the effects apart from any earlier study."""
        effects = self.priors.effects
        prior = effects.prior()
        if isinstance(effects.groups, str):
            prior = replace(prior, groups=self._folder / effects.groups)  # type: ignore[call-arg]
        if effects.frequency_power is None:
            return prior
        if study is None:
            raise InputError(
                "priors.effects.frequency_power: the sd depends on allele frequencies of a study; give it, "
                "load_card(path).mixture(study) or Mixture.from_card(path, study)"
            )
        from bayesgmm.knowledge.elicit import scale_of_predictors

        scale = scale_of_predictors(study, self._specified.weights, prior, power=effects.frequency_power)
        return prior.with_scale(scale)

    def _mixture(self, effects: EffectsPrior | Flat) -> Mixture:
        weights, components, shifts = self.priors.weights, self.priors.components, self.priors.shifts
        return Mixture(
            **self._specified.model_dump(),
            priors=Priors(
                weights=weights.prior(),
                components=components.prior(),
                effects=effects,
                shifts=shifts.prior(),
                df=self.priors.df.prior(),
            ),
        )

    @property
    def _specified(self) -> ModelSection:
        if self.model is None:
            raise InputError("the card has [fit_many] and no [model]: it is for bayesgmm fit-many alone")
        return self.model

    def priors_of_many(self) -> Priors:
        """Prior of weights and components, which is what many small mixtures have."""
        return Priors(weights=self.priors.weights.prior(), components=self.priors.components.prior())

    def beside(self, name: str) -> Path:
        """A file that the card names."""
        return self._folder / name

    def study_options(self) -> dict[str, Any]:
        """Options of :func:`bayesgmm.read_study` that the card sets."""
        return {key: value for key, value in self.study.model_dump().items() if value is not None}


def load_card(path: str | PathLike[str]) -> Card:
    """Read and validate a model card.

    Parameters
    ----------
    path : path or str
        A ``.toml`` file, or the name of a card that comes with the package, e.g. ``"two-humps"``.

    Returns
    -------
    Card

    Raises
    ------
    InputError
        If there is no such card, or a key or value is not allowed; the message names file, key, value and bound, and
        the nearest known key.
    """
    source = _find(path)
    try:
        content = tomllib.loads(source.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not valid TOML: {error}") from error
    try:
        card = Card.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: {_explain(error)}") from error
    if card.model is None and card.fit_many is None:
        raise InputError(f"{source}: the key 'model' is missing")
    card._folder = source.parent  # files that a card names lie beside it
    return card


def bundled_cards() -> list[str]:
    """Names of the cards that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.suffix == ".toml")


def _folder() -> Path:
    installed = files("bayesgmm") / "cards_bundled"
    with as_file(installed) as folder:
        # in a source tree the cards lie beside the package, in models/
        return folder if folder.is_dir() else Path(__file__).resolve().parent.parent / "models"


def _find(path: str | PathLike[str]) -> Path:
    source = Path(path)
    if source.is_file():
        return source
    bundled = _folder() / f"{fspath(path)}.toml"
    if bundled.is_file():
        return bundled
    raise InputError(f"no model card {fspath(path)!r}: neither a file nor one of {', '.join(bundled_cards())}")


def _explain(error: ValidationError) -> str:
    """First fault of a card in one line."""
    faults = error.errors()
    fault = faults[0]
    place = _key_of(fault["loc"])
    where = ".".join(place)
    if fault["type"] == "extra_forbidden":
        known = _keys(place[:-1])
        near = difflib.get_close_matches(place[-1], known, 1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known keys are {', '.join(known)}"
        return f"unknown key {where!r}{hint}"
    if fault["type"] == "missing":
        return f"the key {where!r} is missing"
    if fault["type"] == "value_error":
        return f"{where}: {fault['msg'].removeprefix('Value error, ')}"
    allowed = [_ALLOWED.get(other["type"], []) for other in faults if _key_of(other["loc"]) == place]
    if all(allowed):
        # a value of the wrong type, of a key that may have several
        *others, last = dict.fromkeys(words for some in allowed for words in some)
        told = f"{', '.join(others)} or {last}" if others else last
        return f"{where} = {_toml(fault['input'])}; it must be {told}"
    return f"{where} = {_toml(fault['input'])}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _key_of(loc: tuple[int | str, ...]) -> list[str]:
    """The keys of a place, without what is appended for each of the types that a value may have."""
    place: list[str] = []
    section: type[BaseModel] | None = Card
    for part in loc:
        if section is None:
            break
        place.append(str(part))
        section = _section_of(section, str(part))
    return place


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _section_of(section: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The section that a key of a section holds, of "Section" or "Section | None"."""
    field = section.model_fields.get(key)
    told = () if field is None else (field.annotation, *get_args(field.annotation))
    inner = [t for t in told if isinstance(t, type) and issubclass(t, BaseModel)]
    return inner[0] if len(inner) == 1 else None


def _keys(place: list[str]) -> list[str]:
    section: type[BaseModel] = Card
    for part in place:
        inner = _section_of(section, part)
        if inner is None:
            return []
        section = inner
    return list(section.model_fields)

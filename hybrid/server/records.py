"""What a server says, as records that its OpenAPI document describes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

Label = str | int | float | bool | None


class Neighbour(BaseModel):
    """A training image that the model finds similar."""

    image: str = Field(description="Its file's name, without folders: the file itself is not to be had.")
    label: Label
    distance: float = Field(description="1 - cosine of the features; 0 is the same.")


class Prediction(BaseModel):
    """What the model says of one image; what the bundle cannot tell is left out."""

    model_config = ConfigDict(populate_by_name=True)

    image: str = Field(description="The file's name as it was sent.")
    label: Label
    probability: float | None = Field(None, description="That of the label.")
    probabilities: dict[str, float] | None = Field(None, description="That of every class.")
    set: list[Label] | None = Field(
        None, description="Classes that hold the right one as often as /model says."
    )
    none_of_these: bool | None = Field(
        None, alias="none of these", description="Whether the image is unlike all training images."
    )
    neighbours: list[Neighbour] | None = Field(None, description="The most similar training images.")


class Answer(BaseModel):
    """A prediction an image, in the order they were sent."""

    predictions: list[Prediction]


class BadFile(BaseModel):
    """An image that cannot be used."""

    file: str
    reason: str


class Problem(BaseModel):
    """Why there is no answer."""

    error: str
    files: list[BadFile] | None = Field(None, description="Every image that cannot be used.")


class Health(BaseModel):
    """Whether the server answers."""

    status: str


class Model(BaseModel):
    """The model that is served, and what it takes at a time."""

    name: str
    classes: list[Label]
    accuracy: dict[str, float] | None = Field(None, description="Mean, low and high, by cross-validation.")
    coverage: float | None = Field(None, description="How often a set holds the right class.")
    explains: bool = Field(description="Whether /explain draws heat maps of it.")
    megabytes: int = Field(description="The largest request.")
    images: int = Field(description="The most images of a request.")
    urls: bool = Field(description="Whether URLs are fetched.")

"""The data sets that can be fetched: their files, sums and mirrors."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError, nearest


@dataclass(frozen=True)
class DataFile:
    """One file of a data set.

    Args:
        name: its name without .gz.
        size: the bytes of the published archive.
        archive: SHA-256 of the published archive, name.gz.
        content: SHA-256 of what is inside, where it is known: it also proves a copy that somebody
            has unpacked or packed again.
    """

    name: str
    size: int
    archive: str
    content: str | None = None


@dataclass(frozen=True)
class DataSet:
    """A published data set of images in IDX files: pictures and labels, for training and test."""

    name: str
    title: str
    classes: tuple[str, ...]
    train_images: DataFile
    train_labels: DataFile
    test_images: DataFile
    test_labels: DataFile
    mirrors: tuple[str, ...]

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The four files."""
        return (self.train_images, self.train_labels, self.test_images, self.test_labels)


MNIST = DataSet(
    name="mnist",
    title="MNIST: 70,000 handwritten digits of 28×28 pixels",
    classes=tuple("0123456789"),
    train_images=DataFile(
        "train-images-idx3-ubyte",
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    train_labels=DataFile(
        "train-labels-idx1-ubyte",
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    test_images=DataFile(
        "t10k-images-idx3-ubyte",
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    test_labels=DataFile(
        "t10k-labels-idx1-ubyte",
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)

FASHION_MNIST = DataSet(
    name="fashion-mnist",
    title="Fashion-MNIST: 70,000 articles of clothing of 28×28 pixels",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    train_images=DataFile(
        "train-images-idx3-ubyte",
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    train_labels=DataFile(
        "train-labels-idx1-ubyte",
        29515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    test_images=DataFile(
        "t10k-images-idx3-ubyte",
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    test_labels=DataFile(
        "t10k-labels-idx1-ubyte",
        5148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
)


def known() -> tuple[DataSet, ...]:
    """Return the data sets that can be fetched."""
    return (MNIST, FASHION_MNIST)


def data_set(name: str) -> DataSet:
    """Return the data set of that name.

    Raises:
        ConfigError: there is none.
    """
    for candidate in known():
        if candidate.name == name:
            return candidate
    raise ConfigError(
        f"there is no data set '{name}' to fetch", next=nearest(name, [d.name for d in known()])
    )

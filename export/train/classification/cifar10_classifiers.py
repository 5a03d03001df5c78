"""Recipes ``cifar10-*``: five narrow classifiers of small images."""

from functools import partial

from export.train.classification.cifar10_training import (
    AUXILIARY_WEIGHT,
    Cifar10Classifier,
    run,
    score_held_out,
)
from export.train.recipe import Floor, Recipe
from export.train.schedule import Schedule

CLASSIFIERS = (
    Cifar10Classifier(
        name="cifar10-alexnet",
        architecture="alexnet",
        options={"width": 32, "hidden_size": 256},
        schedule=Schedule(epochs=12, batch_size=128, peak_learning_rate=0.05),
        top1_floor=0.76,
        network="""AlexNet (Krizhevsky et al. 2012) in its single-tower form, for small images, with
            half of the usual width and dense layers of 256 neurons.""",
        training_options={"dropout": 0.25},
        training="Dropout 0.25 before the hidden dense layers.",
    ),
    Cifar10Classifier(
        name="cifar10-vgg",
        architecture="vgg13_bn",
        options={"width": 22, "hidden_size": 128},
        schedule=Schedule(epochs=28, batch_size=128, peak_learning_rate=0.2),
        top1_floor=0.86,
        network="""VGG-13 (Simonyan and Zisserman 2014) with batch normalisation, for small images,
            with 22 channels in its first stage instead of 64 and dense layers of 128 neurons.""",
        training_options={"dropout": 0.1},
        training="Dropout 0.1 after the hidden dense layers.",
    ),
    Cifar10Classifier(
        name="cifar10-googlenet",
        architecture="googlenet",
        options={"width": 16, "auxiliary_heads": False},
        schedule=Schedule(epochs=18, batch_size=128, peak_learning_rate=0.2),
        top1_floor=0.86,
        network="""GoogLeNet (Szegedy et al. 2014) with batch normalisation and the stem for small
            images, with a quarter of the usual width.""",
        training_options={"auxiliary_heads": True, "dropout": 0.1, "auxiliary_dropout": 0.3},
        training=f"""Both auxiliary heads learn along, each with {AUXILIARY_WEIGHT} of its loss, and
            are not shipped. Dropout 0.1 before the last layer and 0.3 in the auxiliary heads.""",
    ),
    Cifar10Classifier(
        name="cifar10-resnet",
        architecture="resnet18",
        options={"width": 16},
        schedule=Schedule(epochs=24, batch_size=128, peak_learning_rate=0.2),
        top1_floor=0.86,
        network="""ResNet-18 (He et al. 2015) with the stem for small images and a quarter of the
            usual width.""",
    ),
    Cifar10Classifier(
        name="cifar10-densenet",
        architecture="densenet40",
        options={"width": 32},
        schedule=Schedule(epochs=17, batch_size=128, peak_learning_rate=0.2),
        top1_floor=0.86,
        network="""DenseNet-BC of 40 layers in three blocks (Huang et al. 2016, section 3), with a
            growth rate of 16 and a stem that halves the resolution.""",
    ),
)

RECIPES = tuple(
    Recipe(
        name=classifier.name,
        held_out="CIFAR-10, test split",
        run=partial(run, classifier),
        score=score_held_out,
        floors=(Floor("top1", at_least=classifier.top1_floor),),
    )
    for classifier in CLASSIFIERS
)

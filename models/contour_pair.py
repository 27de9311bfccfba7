"""Two contour networks as one: each study is answered by the one that is surer of it.

One finds the joints and delineates them at a fixed scale (`models.joint_unet`), the other reads
whole slices at 224 × 224 (`models.contour_unet`). They learnt from different generators and fail
on different images.
"""

from dataclasses import dataclass

from torch import nn

from models.contour_unet import ContourArchitecture, ContourUNet
from models.joint_unet import JointArchitectures, JointNetwork


@dataclass(frozen=True)
class PairArchitecture:
    """The shapes of both."""

    joints: JointArchitectures
    whole: ContourArchitecture


class ContourPair(nn.Module):
    """Both networks; they are asked one after the other.

    Parameters
    ----------
    architecture
        Their shapes.
    """

    def __init__(self, architecture: PairArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.joints = JointNetwork(architecture.joints)
        self.whole = ContourUNet(architecture.whole)

"""Marks results that were sent under a patient or study that was corrected later.

A key object selection tells the archive to show the earlier results no longer. It is filed where
the archive has them: in the same study, under its present identity; after a move, in the former
study under the former identity.

Source: IHE RAD TF-1 (Imaging Object Change Management); DICOM PS3.3 A.35.4, PS3.16 TID 2010 and
CID 7011.
"""

from pydicom.dataset import Dataset
from pydicom.uid import (
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from sij_node.dicom import codes
from sij_node.domain.study import IdentityCorrection, InstanceReference
from sij_node.results.provenance import ResultContext, stamp
from sij_node.results.sr_document import container, referenced, words

_IMAGES = (
    SegmentationStorage,
    SecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)


def rejection_note(
    correction: IdentityCorrection, header: Dataset, context: ResultContext
) -> Dataset:
    """The note that rejects the results sent before a correction.

    Parameters
    ----------
    header
        Header of an image in the study that holds these results.
    context
        That of the results which replace them.

    Returns
    -------
    Dataset
        Key Object Selection Document, "Incorrect Modality Worklist Entry".
    """
    note = Dataset()
    text = " ".join(context.wording.correction(correction))
    description = words(codes.KEY_OBJECT_DESCRIPTION, text)
    note.update(container(codes.INCORRECT_WORKLIST_ENTRY, [description], None, template_id="2010"))
    note.ContentSequence = [description, *map(_key_object, correction.earlier)]
    note.SOPClassUID = KeyObjectSelectionDocumentStorage
    note.Modality, note.InstanceNumber = "KO", 1
    note.CurrentRequestedProcedureEvidenceSequence = referenced(correction.earlier)
    note.ReferencedPerformedProcedureStepSequence = []
    stamp(note, header, context, "rejection note")
    return note


def _key_object(reference: InstanceReference) -> Dataset:
    """A content item without concept name, as TID 2010 wants it."""
    _, _, sop_class, instance = reference
    item, target = Dataset(), Dataset()
    target.ReferencedSOPClassUID = sop_class
    target.ReferencedSOPInstanceUID = instance
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE" if sop_class in _IMAGES else "COMPOSITE"
    item.ReferencedSOPSequence = [target]
    return item

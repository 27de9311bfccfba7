"""Headers of scanners of six vendors and the expected role of each series.

Each row: vendor | description (prot= protocol name) | kind TR/TE/TI, scanning sequence, scan
options, image type, contrast agent, tilt along the sacrum | expected role. Header values are
typical of the vendors; only some were checked against public sample headers. Every row is read
from a classic image and from an Enhanced image with the same facts. Descriptions are in English,
German, French, Spanish, Japanese, Dutch and Italian.
"""

import re
from collections import Counter

import numpy as np
import pytest
from pydicom.dataset import Dataset

from sij_node.dicom.acquisition_facts import acquisition_facts
from sij_node.dicom.series_roles import SequenceRole, role_of
from tests.support.mr_series import classic_series, enhanced, oblique, with_attributes

TABLE = r"""
SIEMENS | t1_tse_cor_obl | T1 600/11 SE | T1
SIEMENS | t1_se_cor | T1 480/14 SE | T1
SIEMENS | T1 TSE koronar ISG | T1 720/9 SE opt=SAT1,PFP | T1
SIEMENS | t1_tse_cor_384 | T1 650/12 SE type=ORIGINAL,PRIMARY,M,NORM,DIS2D | T1
SIEMENS | t1_tse_cor | T1 650/12 SE type=ORIGINAL,SECONDARY,M,NORM,DIS2D | T1
SIEMENS | t1_tse_cor_DRB | T1 650/12 SE type=ORIGINAL,PRIMARY,M,NORM,DIS2D,DRB | T1
SIEMENS | t1_tse_cor_filt | T1 650/12 SE type=DERIVED,PRIMARY,M,NORM,FIL | T1
SIEMENS | T1 IRM sacro-iliaques coronal | T1 550/12 SE | T1
SIEMENS | T1 coronal sacroilíacas | T1 550/12 SE | T1
SIEMENS | T1強調 斜冠状断 | T1 550/12 SE | T1
SIEMENS | t1_tse_cor_long | T1 1100/11 SE | T1
SIEMENS | cor_long | T1 1100/11 SE | other
SIEMENS | t1_tse_fs_cor | T1 600/11 SE | other
SIEMENS | t1_tse_cor_fs | T1 600/11 SE opt=FS | other
SIEMENS | t1_tse_cor fettgesättigt | T1 600/11 SE | other
SIEMENS | t1_tse_cor + KM | T1 600/11 SE | other
SIEMENS | t1_tse_cor nach KM fs | T1 600/11 SE opt=FS | other
SIEMENS | t1_tse_cor ohne KM | T1 600/11 SE | T1
SIEMENS | t1_tse_cor nativ | T1 600/11 SE agent=NONE | T1
SIEMENS | t1_tse_cor | T1 600/11 SE agent=Gadovist | other
SIEMENS | t1_tse_cor | T1 600/11 SE agent=ohne_KM | T1
SIEMENS | t1_vibe_fs_cor | G 5/2 GR | other
SIEMENS | t1_vibe_dixon_cor_W | G 7/2.4 GR type=DERIVED,PRIMARY,DIXON,WATER | other
SIEMENS | t1_vibe_dixon_cor_F | G 7/2.4 GR type=DERIVED,PRIMARY,DIXON,FAT | other
SIEMENS | t1_tse_dixon_cor_in | T1 600/11 SE type=DERIVED,PRIMARY,DIXON,IN_PHASE | T1
SIEMENS | t1_tse_dixon_cor_opp | T1 600/11 SE type=DERIVED,PRIMARY,DIXON,OUT_PHASE | other
SIEMENS | t1_tse_dixon_cor_opp | T1 600/11 SE | other
SIEMENS | t1_tse_dixon_cor_W | T1 600/11 SE | other
SIEMENS | t1_tse_dixon_cor_F | T1 600/11 SE | other
SIEMENS | t2_tse_dixon_cor_W | T2 3500/80 SE type=DERIVED,PRIMARY,DIXON,WATER | T2FS
SIEMENS | t2_tse_dixon_cor_W | T2 3500/80 SE | T2FS
SIEMENS | t2_tse_dixon_cor_F | T2 3500/80 SE | other
SIEMENS | t2_tirm_cor | IR 4500/60/160 SE,IR | STIR
SIEMENS | t2_tirm_cor_p2 | IR 3800/42/220 SE,IR opt=IR,SAT1 | STIR
SIEMENS | STIR koronar ISG | IR 5000/50/150 SE,IR | STIR
SIEMENS | t2_tirm_cor | IR 4500/60/- SE,IR | STIR
SIEMENS | t2_tirm_tra_dark-fluid | IR 9000/90/2500 SE,IR | other
SIEMENS | t2_tirm_cor + KM | IR 4500/60/160 SE,IR | other
SIEMENS | t2_tse_fs_cor | T2 4000/85 SE opt=FS | T2FS
SIEMENS | t2_tse_cor | T2 4000/85 SE | other
SIEMENS | t2_tse_cor | T2 4000/85 SE opt=SAT1 | other
SIEMENS | t2_spair_cor | T2 4000/85 SE | T2FS
SIEMENS | pd_tse_cor | T2 2800/30 SE | other
SIEMENS | pd_tse_fs_cor | T2 2800/30 SE opt=FS | other
SIEMENS | localizer | G 8/4 GR | other
SIEMENS | Localizer_cor | T1 600/11 SE | other
SIEMENS | t1_tse_tra | T1 600/11 SE plane=axial | other
SIEMENS | t1_tse_sag | T1 600/11 SE plane=sagittal | other
SIEMENS | t1_tse_cor_steep | T1 600/11 SE plane=58 | T1
SIEMENS | t1_tse_semi-axial | T1 600/11 SE plane=-43 | other
SIEMENS | t2_tirm_para-axial | IR 4500/60/160 SE,IR plane=-50 | other
SIEMENS | t1_space_cor_MPR | T1 600/11 SE type=DERIVED,SECONDARY,MPR,COR | other
SIEMENS | t1_cor_SUB | T1 600/11 SE type=DERIVED,PRIMARY,M,NORM,SUB | other
SIEMENS | t1_cor_fs_MIP | T1 600/11 SE type=DERIVED,SECONDARY,PROJECTION IMAGE,MIP | other
SIEMENS | t1 Subtraktion | T1 600/11 SE | other
SIEMENS | ep2d_diff_cor_ADC | T2 4000/70 EP type=DERIVED,PRIMARY,DIFFUSION,ADC | other
SIEMENS | t1_tse_cor | T1 0/0 SE | T1
SIEMENS | t2_tse_cor | T2 0/0 SE | other
SIEMENS | t2_tirm_cor | IR 0/0/0 SE | STIR
SIEMENS | t1_space_cor_3D | T1 700/12 SE dim=3D | T1
SIEMENS | t1_tse_cor_we | T1 600/11 SE opt=WE | other
SIEMENS | t1_tse_cor_caipi | T1 600/11 SE type=ORIGINAL,PRIMARY,M,ND | T1
SIEMENS | T1 TSE cor vor KM | T1 600/11 SE | T1
SIEMENS | T1 TSE cor nach Gd | T1 600/11 SE | other
SIEMENS | T1 TSE cor post KM | T1 600/11 SE | other
SIEMENS | T1 TSE parasagittal | T1 600/11 SE plane=sagittal | other
SIEMENS | t2_tirm_sag | IR 4500/60/160 SE,IR plane=sagittal | other
SIEMENS | t2_tse_fs_tra | T2 4000/85 SE opt=FS plane=axial | other
SIEMENS | t2_space_stir_cor | IR 3000/160/160 SE,IR opt=IR dim=3D | STIR
SIEMENS | T1 MPR schräg koronar | T1 600/11 SE type=DERIVED,SECONDARY,MPR,OBL | other
SIEMENS | Übersicht | G 8/4 GR | other
SIEMENS | STIR coronal axe des sacro-iliaques | IR 4500/60/160 SE,IR | STIR
SIEMENS | T2 STIR oblicuo coronal | IR 4500/60/160 SE,IR | STIR
SIEMENS | T2強調 脂肪抑制 冠状断 | T2 4000/85 SE | T2FS
SIEMENS | t1_vibe_cor_SUB | G 5/2 GR type=DERIVED,PRIMARY,M,NORM,SUB | other
GE | COR T1 | T1 500/13 SE opt=FAST_GEMS,FC_SLICE_AX_GEMS | T1
GE | COR T1 FSE SI JOINTS | T1 600/10 SE opt=FAST_GEMS,SAT_GEMS,TRF_GEMS | T1
GE | COR T1 prot=3PLANE LOC / SI JOINTS | T1 600/10 SE | T1
GE | - prot=3PLANE LOC / SI JOINTS | T1 600/10 SE | T1
GE | COR STIR prot=3PLANE LOC / SI JOINTS | IR 4000/42/150 SE,IR | STIR
GE | 3-PLANE LOC prot=SI JOINTS | G 5/1.5 GR | other
GE | 3Plane Loc SSFSE | T2 1200/80 SE | other
GE | COR T1 TI zero | IR 600/10/0 SE | T1
GE | COR T1 FS | T1 600/10 SE opt=FAST_GEMS,FS | other
GE | COR T1 FATSAT | T1 600/10 SE | other
GE | COR T1 FS +C | T1 600/10 SE opt=FS | other
GE | COR T1 POST GAD | T1 600/10 SE | other
GE | COR T1 +C | T1 600/10 SE | other
GE | COR T1 PRE GAD | T1 600/10 SE | T1
GE | COR T1 W/O CONTRAST | T1 600/10 SE | T1
GE | COR T1 Gd | T1 600/10 SE | other
GE | COR T1 | T1 600/10 SE agent=without | T1
GE | COR T1 | T1 600/10 SE agent=None_given | T1
GE | COR T1 | T1 600/10 SE agent=MULTIHANCE | other
GE | COR STIR | IR 4000/42/150 SE,IR opt=FAST_GEMS,IR_GEMS | STIR
GE | COR FSE-IR | IR 4200/40/145 SE,IR | STIR
GE | COR T2 FS | T2 4000/70 SE opt=FAST_GEMS,FS | T2FS
GE | COR T2 ASPIR | T2 4000/70 SE opt=ASPIR | T2FS
GE | COR T2 FSE | T2 4000/70 SE opt=FAST_GEMS,SAT_GEMS | other
GE | WATER: COR T2 FLEX | T2 4000/70 SE type=DERIVED,PRIMARY,DIXON,WATER | T2FS
GE | WATER: COR T2 IDEAL | T2 4000/70 SE | T2FS
GE | FAT: COR T2 IDEAL | T2 4000/70 SE | other
GE | InPhase: COR T1 FLEX | T1 600/10 SE | T1
GE | OutPhase: COR T1 FLEX | T1 600/10 SE | other
GE | WATER: COR T1 FLEX | T1 600/10 SE | other
GE | FAT: COR T1 FLEX | T1 600/10 SE | other
GE | COR T1 ARDL | T1 600/10 SE type=DERIVED,PRIMARY,OTHER,FILTERED | T1
GE | COR LAVA FLEX | G 5/2 GR | other
GE | COR PD | T2 2500/20 SE | other
GE | AX T1 | T1 600/10 SE plane=axial | other
GE | OBL COR T1 | T1 600/10 SE plane=52 | T1
GE | OBL AX T1 | T1 600/10 SE plane=-45 | other
GE | SAG STIR | IR 4000/42/150 SE,IR plane=sagittal | other
GE | COR T1 REFORMAT | T1 600/10 SE type=DERIVED,SECONDARY,REFORMATTED | other
GE | Screen Save | T1 600/10 SE type=DERIVED,SECONDARY,SCREENSAVE | other
GE | COR CUBE T1 | T1 600/12 SE dim=3D | T1
GE | COR CUBE STIR | IR 3000/60/170 SE,IR dim=3D | STIR
GE | COR T1 SI JOINTS POST | T1 600/10 SE | other
GE | COR T1 FS POST GAD | T1 600/10 SE opt=FS | other
GE | Cor T1 pre contrast | T1 600/10 SE | T1
GE | COR OBL STIR SACRO-ILIACAS | IR 4000/42/150 SE,IR | STIR
GE | COR T1 SACRO ILIAQUES SANS INJECTION | T1 600/10 SE | T1
GE | COR T1 KM | T1 600/10 SE | other
GE | AX STIR | IR 4000/42/150 SE,IR plane=axial | other
GE | MIP COR T1 | T1 600/10 SE type=DERIVED,SECONDARY,MIP | other
GE | COR LAVA SUB | G 5/2 GR type=DERIVED,SECONDARY,SUBTRACT | other
Philips | T1W_TSE_COR | T1 560/12 SE | T1
Philips | STIR_TSE_COR | IR 3500/40/160 IR opt=FS type=ORIGINAL,PRIMARY,M_IR,M,IR | STIR
Philips | T2 FLAIR | IR 11000/125/2800 IR opt=FS type=ORIGINAL,PRIMARY,M_IR,M,IR | other
Philips | T1W_TSE_COR | T1 560/12 SE opt=OTHER | T1
Philips | T1W_TSE_SAG | T1 560/12 SE plane=sagittal | other
Philips | STIR_TSE_TRA | IR 3500/40/160 IR plane=axial | other
Philips | T1W_TSE_COR_OBL | T1 560/12 SE plane=55 | T1
Philips | T1W para-axial | T1 560/12 SE plane=-40 | other
Philips | T1W_TSE koronar ohne KM | T1 560/12 SE | T1
Philips | T1W_TSE koronar KM | T1 560/12 SE | other
Philips | T1 cor zonder contrast | T1 560/12 SE | T1
Philips | T1 coronale senza mdc | T1 560/12 SE | T1
Philips | T1 coronal GADOLINIO | T1 560/12 SE | other
Philips | 3D T1 TSE VISTA cor | T1 500/18 SE dim=3D | T1
Philips | eTHRIVE_COR | G 4/2 GR opt=SPAIR | other
Philips | T1W_TSE_COR sub | T1 560/12 SE type=DERIVED,PRIMARY,SUBTRACTION,M,SE | other
Philips | T1W real | T1 560/12 SE type=ORIGINAL,PRIMARY,R_SE,R,SE | other
Philips | T1W_TSE_COR RM | T1 560/12 RM | T1
Philips | T1W_TSE_COR CLEAR | T1 560/12 SE type=ORIGINAL,PRIMARY,M_SE,M,SE | T1
Philips | T1 cor vetonderdrukt | T1 560/12 SE | other
Philips | T1W_SPIR_COR | T1 560/12 SE opt=SPIR | other
Philips | T1W_SPIR_COR | T1 560/12 SE | other
Philips | T1 SPAIR coronal | T1 560/12 SE | other
Philips | T1 coronal sat graisse | T1 560/12 SE | other
Philips | T1 coronal après injection | T1 560/12 SE | other
Philips | T1 coronal sans injection | T1 560/12 SE | T1
Philips | T1 coronal GADO | T1 560/12 SE | other
Philips | STIR_longTE_COR | IR 3500/60/165 IR | STIR
Philips | STIR_COR | IR 4000/30/210 SE,IR | STIR
Philips | STIR coronal | T2 4000/60 SE | STIR
Philips | T2W_SPAIR_COR | T2 3000/60 SE opt=SPAIR | T2FS
Philips | T2W_TSE_COR | T2 3000/90 SE | other
Philips | mDIXON T2 W | T2 3000/80 SE type=DERIVED,PRIMARY,W,W,DERIVED | T2FS
Philips | mDIXON T2 F | T2 3000/80 SE type=DERIVED,PRIMARY,F,F,DERIVED | other
Philips | mDIXON T1 IP | T1 560/12 SE type=ORIGINAL,PRIMARY,IP,IP,DERIVED | T1
Philips | mDIXON T1 OP | T1 560/12 SE type=DERIVED,PRIMARY,OP,OP,DERIVED | other
Philips | mDIXON T1 W | T1 560/12 SE type=DERIVED,PRIMARY,W,W,DERIVED | other
Philips | T1 FFE | G 8/2 RM | other
Philips | Survey | G 11/4 GR type=ORIGINAL,PRIMARY,SURVEY | other
Philips | PDW_TSE_COR | T2 2600/30 SE | other
Philips | T1W_TSE_COR phase | T1 560/12 SE type=ORIGINAL,PRIMARY,PHASE MAP,P,SE | other
Canon | T1 COR | T1 500/12 SE | T1
Canon | T1強調 冠状断 | T1 500/12 SE | T1
Canon | T1 脂肪抑制 冠状断 | T1 500/12 SE | other
Canon | T1 造影後 冠状断 | T1 500/12 SE | other
Canon | T1 造影前 冠状断 | T1 500/12 SE | T1
Canon | T1 単純 冠状断 | T1 500/12 SE | T1
Canon | STIR 冠状断 | IR 4500/60/190 IR | STIR
Canon | FIR COR | IR 4500/60/190 IR | STIR
Canon | T2 FatSAT COR | T2 4000/80 SE opt=FATSAT | T2FS
Canon | T2 脂肪抑制 | T2 4000/80 SE | T2FS
Canon | T2強調 冠状断 | T2 4000/80 SE | other
Canon | 位置決め | T1 500/12 SE | other
Canon | T1 差分 | T1 500/12 SE | other
Canon | T1 Ax | T1 500/12 SE plane=axial | other
Canon | T1 COR WFOP OP | T1 500/12 SE | other
Canon | T1W_COR | T1 500/12 SE opt=SP | T1
Canon | FSE T1 COR MSOFT | T1 500/12 SE opt=MSOFT | other
Canon | FSE STIR COR | IR 4500/60/190 SE,IR | STIR
Canon | STIR Sag | IR 4500/60/190 IR plane=sagittal | other
Canon | FASE COR | T2 5000/80 SE | other
Canon | FFE T1 COR | G 7/2 GR | other
Canon | T1 冠状断 Gd | T1 500/12 SE | other
Canon | T1 冠状断 造影剤なし | T1 500/12 SE | T1
Canon | T1 斜冠状断 | T1 500/12 SE plane=50 | T1
Canon | T2 WFOP W COR | T2 4000/80 SE | T2FS
Canon | T1 COR | T1 500/12 SE agent=なし | T1
Fujifilm | T1 FSE COR | T1 450/11 SE | T1
Fujifilm | T1 GE COR | G 60/8 GR | other
Fujifilm | IR FSE COR 0.4T | IR 2000/30/100 SE,IR | STIR
Fujifilm | T1 SE COR 0.3T | T1 400/20 SE | T1
Fujifilm | STIR tra | IR 3200/60/110 IR plane=axial | other
Fujifilm | T1 coronal post contraste | T1 450/11 SE | other
Fujifilm | T1 FSE OBL COR | T1 450/11 SE plane=45 | T1
Fujifilm | PD FSE COR | T2 2500/25 SE | other
Fujifilm | T1 冠状断 単純 | T1 450/11 SE | T1
Fujifilm | MIP | T1 450/11 SE type=DERIVED,SECONDARY,MIP | other
Fujifilm | T1 coronal FatSat | T1 450/11 SE | other
Fujifilm | STIR COR 0.3T | IR 1800/25/90 SE,IR | STIR
Fujifilm | STIR coronal | IR 3200/60/110 IR | STIR
Fujifilm | T2 FSE COR | T2 3800/90 SE | other
Fujifilm | T2 FatSep W | T2 3800/90 SE | T2FS
Fujifilm | T2 FatSep F | T2 3800/90 SE | other
Fujifilm | SCOUT | G 20/5 GR | other
Fujifilm | T1 coronal con contraste | T1 450/11 SE | other
Fujifilm | T1 coronal sin contraste | T1 450/11 SE | T1
Fujifilm | T1 coronal saturación grasa | T1 450/11 SE | other
Fujifilm | T1 coronal sustracción | T1 450/11 SE | other
Fujifilm | T1 sag | T1 450/11 SE plane=sagittal | other
UIH | t1_fse_cor | T1 620/10 SE | T1
UIH | t1_fse_cor_uCS | T1 620/10 SE | T1
UIH | t2_tirm_cor | IR 3500/50/200 SE,IR | STIR
UIH | t2_tirm_cor_ACS | IR 3500/50/200 SE,IR opt=FS | STIR
UIH | t2_tirm_sag | IR 3500/50/200 SE,IR plane=sagittal | other
UIH | pd_fse_cor_fs | T2 2600/30 SE opt=FS | other
UIH | pd_mx3d_cor_spair_uCS | T2 1200/35 SE dim=3D | other
UIH | t2_fse_cor_spair | T2 3600/75 SE | T2FS
UIH | t1_fse_cor_pre | T1 620/10 SE | T1
UIH | t1_fse_cor_Gd | T1 620/10 SE | other
UIH | t1_mx3d_cor | T1 620/12 SE dim=3D | T1
UIH | t1_fse_cor_MPR | T1 620/10 SE type=DERIVED,SECONDARY,MPR | other
UIH | t1_fse_obl_tra | T1 620/10 SE plane=-45 | other
UIH | t1_fse_cor_fs | T1 620/10 SE | other
UIH | t1_fse_wfi_cor_W | T1 620/10 SE | other
UIH | t1_fse_wfi_cor_F | T1 620/10 SE | other
UIH | t1_fse_cor+c | T1 620/10 SE | other
UIH | t2_fse_cor_fs | T2 3600/75 SE opt=FS | T2FS
UIH | t2_fse_wfi_cor_W | T2 3600/75 SE | T2FS
UIH | t2_fse_cor | T2 3600/75 SE | other
UIH | stir_fse_cor | IR 3500/50/200 SE,IR | STIR
UIH | t2_stir_cor | T2 3500/50 SE | STIR
UIH | scout_3plane | G 6/2 GR | other
UIH | t1_quick3d_cor | G 5/2 GR | other
UIH | t1_fse_tra | T1 620/10 SE plane=axial | other
UIH | t1_fse_cor_obl | T1 620/10 SE plane=60 | T1
"""

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
ROLES = {"T2FS": SequenceRole.T2_FAT_SAT} | {str(role): role for role in SequenceRole}
ROWS = [tuple(map(str.strip, line.split("|"))) for line in TABLE.strip().splitlines()]
PIXELS = np.zeros((5, 4, 4), np.uint16)


def stated(description: str, header: str) -> dict[str, object]:
    """Attributes of a classic image from a row of the table."""
    name, _, protocol = description.partition(" prot=")
    _, times, pulses, *more = header.split()
    tr, te, *ti = times.split("/")
    found: dict[str, object] = {
        "SeriesDescription": "" if name == "-" else name,
        "ProtocolName": protocol,
        "RepetitionTime": float(tr),
        "EchoTime": float(te),
        "ScanningSequence": pulses.split(","),
    }
    if ti and ti[0] != "-":
        found["InversionTime"] = float(ti[0])
    more = dict(re.findall(r"(\w+)=(.*?)(?= \w+=|$)", " ".join(more)))
    for key, keyword in (("opt", "ScanOptions"), ("type", "ImageType")):
        if key in more:
            found[keyword] = more[key].split(",")
    if "agent" in more:
        found["ContrastBolusAgent"] = more["agent"].replace("_", " ")
    return found | {"MRAcquisitionType": more.get("dim", "2D")}


def cosines_in(header: str):
    plane = header.partition("plane=")[2].split(" ")[0]
    named = {"": oblique(30), "axial": AXIAL, "sagittal": SAGITTAL}
    return named[plane] if plane in named else oblique(float(plane))


def as_enhanced(description: str, header: str) -> Dataset:
    """The same facts in functional groups."""
    facts = stated(description, header)
    image = enhanced(PIXELS, cosines=cosines_in(header))
    shared = image.SharedFunctionalGroupsSequence[0]
    shared.MRTimingAndRelatedParametersSequence[0].RepetitionTime = facts["RepetitionTime"]
    shared.MREchoSequence[0].EffectiveEchoTime = facts["EchoTime"]
    pulses = set(facts["ScanningSequence"])
    modifier = Dataset()
    modifier.InversionRecovery = "YES" if "IR" in pulses else "NO"
    if "InversionTime" in facts:
        modifier.InversionTimes = [facts["InversionTime"]]
    options = set(facts.get("ScanOptions", ()))
    if {"FS", "SPIR", "SPAIR", "ASPIR", "FATSAT", "MSOFT"} & options:
        modifier.SpectrallySelectedSuppression = "FAT"
    if "WE" in options:
        modifier.SpectrallySelectedExcitation = "WATER"
    shared.MRModifierSequence = [modifier]
    kind = Dataset()
    kind.FrameType = facts.get("ImageType", ["ORIGINAL", "PRIMARY", "M", "NONE"])
    shared.MRImageFrameTypeSequence = [kind]
    if "ContrastBolusAgent" in facts:
        agent = Dataset()
        agent.CodeMeaning = facts["ContrastBolusAgent"]
        image.ContrastBolusAgentSequence = [agent]
    return with_attributes(
        image,
        SeriesDescription=facts["SeriesDescription"],
        ProtocolName=facts["ProtocolName"],
        MRAcquisitionType=facts["MRAcquisitionType"],
        EchoPulseSequence="GRADIENT" if "GR" in pulses else "SPIN",
        EchoPlanarPulseSequence="YES" if "EP" in pulses else "NO",
    )


@pytest.mark.parametrize(("vendor", "description", "header", "role"), ROWS)
def test_a_series_has_the_role_of_its_header(vendor, description, header, role):
    image = classic_series(PIXELS, cosines=cosines_in(header), **stated(description, header))[0]
    found = role_of(acquisition_facts(image))

    assert found.role is ROLES[role], found.reason


@pytest.mark.parametrize(("vendor", "description", "header", "role"), ROWS)
def test_the_same_facts_in_an_enhanced_image_give_the_same_role(vendor, description, header, role):
    found = role_of(acquisition_facts(as_enhanced(description, header)))

    assert found.role is ROLES[role], found.reason


def test_the_table_covers_six_vendors_in_at_least_150_rows():
    vendors = Counter(row[0] for row in ROWS)

    assert len(vendors) == 6
    assert len(ROWS) >= 150

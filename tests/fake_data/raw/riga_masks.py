"""RIGA's re-release DiscRegion: tables in GBK with paths of Windows; masks of 0, 128 and 255 with soft edges."""

from pathlib import Path

import numpy as np
from PIL import Image

from fake_data.raw.riga import SHAPE, circle

IMAGES = {"BinRushed": ("BinRushed1", "BinRushed2"), "MESSIDOR": ("MESSIDOR",), "Magrabia": ("Male", "Female")}
HEADER = ",imgName,maskName,label,center,xmin,ymin,xmax,ymax,width,height,discFlag,rater"


def write(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for table, groups in IMAGES.items():
        lines = [HEADER]
        for group in groups:
            for number in range(1, 4):
                image = f"DiscRegion\\{table}\\Images\\{group}\\image{number}.png"
                centre = (float(rng.uniform(28, 36)), float(rng.uniform(32, 40)))
                bright = 60 * (circle(centre, 20) < 0) + 50 * (circle(centre, 9) < 0)
                grey = bright + rng.normal(0, 4, SHAPE)
                save(folder, image, np.stack([120 + grey, 70 + grey, 30 + grey / 2], 2))
                for rater in range(7):
                    kind = f"Rater{rater}" if rater else "FinalLabel"
                    name = image.replace("Images", kind)
                    mask = 128.0 * (circle(centre, 19 + rater / 2) < 0)
                    mask[np.abs(circle(centre, 19 + rater / 2)) < 0.5] = 60
                    mask[circle(centre, 8 + rater / 2) < 0] = 255
                    save(folder, name, mask)
                    lines.append(f"{len(lines) - 1},{image},{name},1,椎,0,0,72,64,72,64,1,{rater}")
        (folder / f"Glaucoma_multirater_{table}.csv").write_text("\r\n".join(lines) + "\r\n", encoding="gbk")
    return folder


def save(folder: Path, name: str, values: np.ndarray) -> None:
    path = folder / name.replace("\\", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path)

"""Real texts of mixed length and many scripts: documentation of Python, translated messages of installed programs where
there are any, and sentences of our own, alone and side by side."""

import ast
import gettext
import random
import sysconfig
import unicodedata
from collections.abc import Iterator
from pathlib import Path

LOCALES = Path("/usr/share/locale")

SENTENCES = (
    "The harbour was quiet until the first ferry arrived.",
    "Der Zug nach Köln fährt heute vom Gleis gegenüber.",
    "La bibliothèque ferme à dix-neuf heures, sauf le jeudi.",
    "El servidor responde más despacio cuando llueve en la montaña.",
    "A criança guardou o búzio na gaveta da cozinha.",
    "Źdźbło trawy kołysało się na wietrze nad jeziorem.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy za humny.",
    "Öğleden sonra çarşıda taze ekmek kokusu vardı.",
    "Buổi sáng, sương mù phủ kín thung lũng và con sông nhỏ.",
    "Сервер отвечает на запросы быстрее, когда тексты похожи по длине.",
    "Їжак ґречно відповів, що щастя живе у дрібницях.",
    "Η αναζήτηση με νόημα βρίσκει ό,τι χάνουν οι λέξεις-κλειδιά.",
    "הספרייה סגורה היום, אבל הדלת האחורית פתוחה.",
    "تعمل الخوادم ليلاً ونهاراً دون أن يلاحظها أحد.",
    "کتابخانه امروز بسته است، اما باغ باز است.",
    "पुस्तकालय के पीछे एक पुराना बरगद का पेड़ है।",
    "নদীর ওপারে ধানের খেতে সন্ধ্যা নামছে।",
    "மழை நின்றதும் குழந்தைகள் தெருவில் விளையாடினர்.",
    "వాన తర్వాత మట్టి వాసన ఊరంతా పరుచుకుంది.",
    "ฝนหยุดตกแล้ว แต่ถนนยังเปียกอยู่",
    "搜索引擎按照意思而不是按照字词来寻找文档。",
    "圖書館的後門通向一座安靜的花園。",
    "東京の天気は明日も晴れるでしょう。しかし夜は冷え込みます。",
    "검색 서비스는 모델이 바뀌어도 멈추지 않습니다.",
    "ბიბლიოთეკის უკან ძველი ბაღია.",
    "Գրադարանի հետևում հին այգի կա։",
    "ቤተ መጻሕፍቱ ዛሬ ተዘግቷል።",
    "បណ្ណាល័យបិទនៅថ្ងៃនេះ។",
    "Ṣé o ti jẹun ní àárọ̀ yìí?",
    "🚢🌊 → ∑(xᵢ) ≤ 3½ “quoted” — naïve façade №5 ™",
    "def merge(a: list[int], b: list[int]) -> list[int]: return sorted(a + b)",
    "SELECT id, name FROM shards WHERE generation = 4 AND state <> 'gone';",
    "x",
    "[SEP] and [CLS] written out in a text",
    "a\u0301 e\u0308 \ufb01 \u200bzero\u200dwidth\ufeff",
)


def corpus(size: int, seed: int) -> list[str]:
    """`size` different texts in random order, a third of them in other scripts than Latin."""
    chooser = random.Random(seed)
    documented = sorted(set(_docstrings()))
    short = [text for text in documented if len(text.split()) <= 40]
    english = sorted({*chooser.sample(short, k=round(0.4 * size)), *chooser.sample(documented, k=round(0.1 * size))})
    translated = sorted(set(_translations()) - set(english))
    chosen = [*english, *SENTENCES, *chooser.sample(translated, k=min(len(translated), round(0.2 * size)))]
    known = set(chosen)
    while len(known) < size:
        known.add(" ".join(chooser.sample(SENTENCES, k=chooser.randint(2, 6))))
    texts = sorted(known)
    chooser.shuffle(texts)
    return texts


def scripts(text: str) -> set[str]:
    """First words of the names of the letters: LATIN, CYRILLIC, …"""
    return {unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha()}


def _docstrings() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node)):
                yield text


def _translations() -> Iterator[str]:
    for path in sorted(LOCALES.glob("*/LC_MESSAGES/*.mo")):
        try:
            with path.open("rb") as file:
                messages = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        except (OSError, UnicodeDecodeError, ValueError, LookupError):  # some catalogs are damaged
            continue
        yield from (text for text in messages.values() if isinstance(text, str) and 20 < len(text) < 600 and "\n" not in text)

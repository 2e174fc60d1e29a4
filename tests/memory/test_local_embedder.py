"""The local embedder on its real weights: the model that it says it is, on any thread, for any text."""

import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tablestore_openmemory_mcp.memory.models.local.local_embedder import LocalEmbedder
from tablestore_openmemory_mcp.memory.models.local.packed_table import PackedTable
from tablestore_openmemory_mcp.memory.models.local.universal_sentence_encoder import (
    LONGEST,
    PART,
    UniversalSentenceEncoder,
)

MINUTE = 60.0

# Of each language that the model knows, the same eight sentences.
TRANSLATIONS = {
    "en": (
        "I am allergic to peanuts.",
        "My flight leaves on Monday morning.",
        "She works as a nurse in a hospital.",
        "We have two cats and a dog.",
        "The code should be indented with four spaces.",
        "My favourite colour is green.",
        "He is learning to play the piano.",
        "The meeting was moved to Thursday.",
    ),
    "ar": (
        "لدي حساسية من الفول السوداني.",
        "رحلتي تغادر صباح يوم الاثنين.",
        "هي تعمل ممرضة في مستشفى.",
        "لدينا قطتان وكلب.",
        "يجب أن تكون المسافة البادئة للكود أربع مسافات.",
        "لوني المفضل هو الأخضر.",
        "هو يتعلم العزف على البيانو.",
        "تم نقل الاجتماع إلى يوم الخميس.",
    ),
    "de": (
        "Ich bin gegen Erdnüsse allergisch.",
        "Mein Flug geht am Montagmorgen.",
        "Sie arbeitet als Krankenschwester in einem Krankenhaus.",
        "Wir haben zwei Katzen und einen Hund.",
        "Der Code soll mit vier Leerzeichen eingerückt werden.",
        "Meine Lieblingsfarbe ist Grün.",
        "Er lernt Klavier spielen.",
        "Die Besprechung wurde auf Donnerstag verlegt.",
    ),
    "es": (
        "Soy alérgico a los cacahuetes.",
        "Mi vuelo sale el lunes por la mañana.",
        "Ella trabaja de enfermera en un hospital.",
        "Tenemos dos gatos y un perro.",
        "El código debe llevar una sangría de cuatro espacios.",
        "Mi color favorito es el verde.",
        "Él está aprendiendo a tocar el piano.",
        "La reunión se ha pasado al jueves.",
    ),
    "fr": (
        "Je suis allergique aux cacahuètes.",
        "Mon vol part lundi matin.",
        "Elle travaille comme infirmière dans un hôpital.",
        "Nous avons deux chats et un chien.",
        "Le code doit être indenté avec quatre espaces.",
        "Ma couleur préférée est le vert.",
        "Il apprend à jouer du piano.",
        "La réunion a été déplacée à jeudi.",
    ),
    "it": (
        "Sono allergico alle arachidi.",
        "Il mio volo parte lunedì mattina.",
        "Lei lavora come infermiera in un ospedale.",
        "Abbiamo due gatti e un cane.",
        "Il codice deve essere indentato con quattro spazi.",
        "Il mio colore preferito è il verde.",
        "Lui sta imparando a suonare il pianoforte.",
        "La riunione è stata spostata a giovedì.",
    ),
    "ja": (
        "私はピーナッツアレルギーです。",
        "私の便は月曜日の朝に出発します。",
        "彼女は病院で看護師として働いています。",
        "うちには猫が二匹と犬が一匹います。",
        "コードのインデントはスペース四つにしてください。",
        "私の好きな色は緑です。",
        "彼はピアノを習っています。",
        "会議は木曜日に変更されました。",
    ),
    "ko": (
        "저는 땅콩 알레르기가 있어요.",
        "제 비행기는 월요일 아침에 출발합니다.",
        "그녀는 병원에서 간호사로 일합니다.",
        "우리는 고양이 두 마리와 개 한 마리가 있습니다.",
        "코드는 공백 네 개로 들여쓰기해야 합니다.",
        "제가 가장 좋아하는 색은 초록색입니다.",
        "그는 피아노를 배우고 있습니다.",
        "회의가 목요일로 옮겨졌습니다.",
    ),
    "nl": (
        "Ik ben allergisch voor pinda's.",
        "Mijn vlucht vertrekt maandagochtend.",
        "Zij werkt als verpleegster in een ziekenhuis.",
        "We hebben twee katten en een hond.",
        "De code moet met vier spaties worden ingesprongen.",
        "Mijn lievelingskleur is groen.",
        "Hij leert piano spelen.",
        "De vergadering is naar donderdag verplaatst.",
    ),
    "pl": (
        "Mam alergię na orzeszki ziemne.",
        "Mój lot jest w poniedziałek rano.",
        "Ona pracuje jako pielęgniarka w szpitalu.",
        "Mamy dwa koty i psa.",
        "Kod powinien mieć wcięcia z czterech spacji.",
        "Mój ulubiony kolor to zielony.",
        "On uczy się grać na pianinie.",
        "Spotkanie zostało przeniesione na czwartek.",
    ),
    "pt": (
        "Sou alérgico a amendoim.",
        "O meu voo parte na segunda-feira de manhã.",
        "Ela trabalha como enfermeira num hospital.",
        "Temos dois gatos e um cão.",
        "O código deve ser recuado com quatro espaços.",
        "A minha cor favorita é o verde.",
        "Ele está a aprender a tocar piano.",
        "A reunião foi mudada para quinta-feira.",
    ),
    "ru": (
        "У меня аллергия на арахис.",
        "Мой рейс вылетает в понедельник утром.",
        "Она работает медсестрой в больнице.",
        "У нас две кошки и собака.",
        "Код должен иметь отступ в четыре пробела.",
        "Мой любимый цвет — зелёный.",
        "Он учится играть на пианино.",
        "Встречу перенесли на четверг.",
    ),
    "th": (
        "ฉันแพ้ถั่วลิสง",
        "เที่ยวบินของฉันออกเช้าวันจันทร์",
        "เธอทำงานเป็นพยาบาลในโรงพยาบาล",
        "เรามีแมวสองตัวและสุนัขหนึ่งตัว",
        "โค้ดควรเยื้องด้วยช่องว่างสี่ช่อง",
        "สีโปรดของฉันคือสีเขียว",
        "เขากำลังเรียนเปียโน",
        "การประชุมถูกเลื่อนไปเป็นวันพฤหัสบดี",
    ),
    "tr": (
        "Yer fıstığına alerjim var.",
        "Uçuşum pazartesi sabahı kalkıyor.",
        "O, bir hastanede hemşire olarak çalışıyor.",
        "İki kedimiz ve bir köpeğimiz var.",
        "Kod dört boşlukla girintilenmelidir.",
        "En sevdiğim renk yeşil.",
        "Piyano çalmayı öğreniyor.",
        "Toplantı perşembe gününe alındı.",
    ),
    "zh": (
        "我对花生过敏。",
        "我的航班星期一早上起飞。",
        "她在医院当护士。",
        "我们有两只猫和一条狗。",
        "代码缩进要用四个空格。",
        "我最喜欢的颜色是绿色。",
        "他在学弹钢琴。",
        "会议改到了星期四。",
    ),
    "zh-tw": (
        "我對花生過敏。",
        "我的班機星期一早上起飛。",
        "她在醫院當護士。",
        "我們有兩隻貓和一條狗。",
        "程式碼縮排要用四個空格。",
        "我最喜歡的顏色是綠色。",
        "他在學彈鋼琴。",
        "會議改到了星期四。",
    ),
}

# Cosines that the original model's graph gives in ONNX, in eight bits.
ORIGINAL_GRAPH = [
    ("How old are you?", "What is your age?", 0.861),
    ("How old are you?", "My phone is broken.", 0.091),
    ("dog", "cane", 0.956),
    ("Puppies are nice.", "I cuccioli sono carini.", 0.711),
    (
        "I enjoy taking long walks along the beach with my dog.",
        "私は犬と一緒にビーチを散歩するのが好きです",
        0.760,
    ),
    ("My flight leaves on Monday", "我的航班星期一起飞", 0.682),
    ("My flight leaves on Monday", "我對花生過敏", 0.208),
    ("我对花生过敏", "我對花生過敏", 0.860),
    ("Ich bin Vegetarier", "I am a vegetarian", 0.853),
    ("她的女儿上小学二年级", "孩子多大了", 0.373),
    ("我不吃香菜", "cilantro", 0.327),
]

ODD = [
    "",
    " ",
    "\n",
    "\0",
    "a\0b",
    "\ud83d",
    "x\udfffy",
    "😀👨‍👩‍👧‍👦",
    "\u200b",
    "\ufeff",
    "▁",
    "<unk>",
    "</s>",
    "\U0010ffff",
]


@pytest.fixture(scope="module")
def local() -> LocalEmbedder:
    return LocalEmbedder(UniversalSentenceEncoder())


def embed(local: LocalEmbedder, *texts: str) -> NDArray[np.float32]:
    return local.embed(texts, deadline=time.monotonic() + MINUTE)


@pytest.mark.parametrize(("one", "other", "cosine"), ORIGINAL_GRAPH)
def test_cosines_are_those_of_the_original_graph(local: LocalEmbedder, one: str, other: str, cosine: float) -> None:
    a, b = embed(local, one, other)
    assert float(a @ b) == pytest.approx(cosine, abs=0.06)


@pytest.mark.parametrize("language", list(TRANSLATIONS)[1:])
def test_a_sentence_is_nearest_to_its_translation(local: LocalEmbedder, language: str) -> None:
    cosines = embed(local, *TRANSLATIONS[language]) @ embed(local, *TRANSLATIONS["en"]).T
    assert cosines.argmax(axis=1).tolist() == cosines.argmax(axis=0).tolist() == list(range(8))


def test_both_ways_of_writing_chinese_say_the_same(local: LocalEmbedder) -> None:
    same = embed(local, *TRANSLATIONS["zh"]) @ embed(local, *TRANSLATIONS["zh-tw"]).T
    assert np.diag(same).min() > 0.6
    assert (np.diag(same) == same.max(axis=1)).all()


def test_a_run_of_unknown_characters_is_one_token_as_in_sentencepiece(local: LocalEmbedder) -> None:
    """鹦鹉 and 猩猩 are not in the vocabulary; how many characters of that kind there are says nothing."""
    one, two, three = embed(local, "我看见一只鹦", "我看见一只鹦鹉", "我看见一只鹦鹉鹦")
    assert two == pytest.approx(one, abs=1e-5)
    assert three == pytest.approx(one, abs=1e-5)


def test_eight_threads_get_what_one_gets(local: LocalEmbedder) -> None:
    texts = [text for sentences in TRANSLATIONS.values() for text in sentences]
    alone = [embed(local, text) for text in texts]
    begin = threading.Barrier(8)

    def all_of_them(_: int) -> list[NDArray[np.float32]]:
        begin.wait(MINUTE)
        return [embed(local, text) for text in texts]

    with ThreadPoolExecutor(8) as pool:
        for made in pool.map(all_of_them, range(8)):
            assert all(np.array_equal(a, b) for a, b in zip(alone, made, strict=True))


def test_a_text_has_the_same_vector_alone_and_among_others(local: LocalEmbedder) -> None:
    texts = [*TRANSLATIONS["zh"], *ODD, "長" * 2 * PART, *TRANSLATIONS["en"]]
    together = embed(local, *texts)
    for text, vector in zip(texts, together, strict=True):
        assert embed(local, text)[0] == pytest.approx(vector, abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=60), min_size=1, max_size=25))
def test_any_text_has_a_direction(texts: list[str]) -> None:
    made = embed(LocalEmbedder(UniversalSentenceEncoder()), *texts, *ODD)
    assert made.shape == (len(texts) + len(ODD), 512)
    assert made.dtype == np.float32
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "text", ["缩" * 32_000, "a" * 32_000, "word " * 6_400, "😀" * 32_000, " " * 32_000], ids=lambda text: repr(text[:2])
)
def test_a_long_text_is_read_as_far_as_it_goes_in_little_memory(local: LocalEmbedder, text: str) -> None:
    embed(local, "warm")
    tracemalloc.start()
    try:
        whole = embed(local, text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * 2**20
    assert np.array_equal(whole, embed(local, text[:LONGEST]))


def test_the_end_of_a_long_text_counts(local: LocalEmbedder) -> None:
    filler = "The weather was fine and nothing happened. " * 60
    told = filler + "The suitcase is in the cellar behind the boiler. " * 10
    where, with_end, without = embed(local, "The suitcase is in the cellar behind the boiler.", told, filler)
    assert where @ with_end > where @ without + 0.05


def test_a_packed_table_gives_the_rows_of_the_table() -> None:
    chance = np.random.default_rng(3)
    for count in (1, 511, 512, 513, 2_000):
        table = chance.integers(0, 64, (count, 128), dtype=np.uint8)
        plain = table.copy()
        rows = chance.integers(0, count, 300)
        packed = PackedTable(table)
        assert np.array_equal(packed[rows], plain[rows])
        assert packed.nbytes == plain.nbytes * 3 // 4


def test_a_table_that_does_not_fit_is_left_as_it_is() -> None:
    table = np.full((3, 8), 64, np.uint8)
    with pytest.raises(ValueError, match="six bits"):
        PackedTable(table)
    assert (table == 64).all()

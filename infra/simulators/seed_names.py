"""Names for invented people, each with the ASCII form that an e-mail address uses.

Given and family names are common ones, paired at random; nobody in particular is meant.
"""

from dataclasses import dataclass
from typing import Final

Name = tuple[str, str]
"""A name as written, and its ASCII form in lower case."""


@dataclass(frozen=True, slots=True)
class Script:
    """Given and family names of one way of writing; `weight` is its share among the people."""

    name: str
    weight: int
    given: tuple[Name, ...]
    family: tuple[Name, ...]


def _names(text: str) -> tuple[Name, ...]:
    """Read `written=ascii` pairs, one per comma."""
    pairs = (part.strip().split("=") for part in text.split(","))
    return tuple((written, plain) for written, plain in pairs)


SCRIPTS: Final[tuple[Script, ...]] = (
    Script(
        "latin",
        30,
        _names(
            "Anna=anna, Marcus=marcus, Priya=priya, Jordan=jordan, Mary Ann=mary.ann, Desmond=desmond,"
            "Leticia=leticia, Owen=owen, Jean-Luc=jean-luc, Wilhelmina=wilhelmina, Tariq=tariq, Bo=bo"
        ),
        _names(
            "Fernsby=fernsby, O'Mallorn=omallorn, Brackwater=brackwater, D'Avelli=davelli, Ng=ng,"
            "Smith-Okoro=smith-okoro, Van der Veld=vanderveld, McTarrow=mctarrow, Hollis=hollis, Xu=xu,"
            "Quillfeather=quillfeather, Ashgrove=ashgrove"
        ),
    ),
    Script(
        "latin with diacritics",
        20,
        _names(
            "Zoë=zoe, José=jose, Łucja=lucja, Åsa=asa, Đorđe=dorde, Çiğdem=cigdem, Nguyệt=nguyet,"
            "Siân=sian, Günther=gunther, Ólöf=olof, Ştefan=stefan, Māris=maris"
        ),
        _names(
            "Nuñez-Ibáñez=nunez-ibanez, Wójcik=wojcik, Öberg=oberg, Šimůnek=simunek, Trần=tran,"
            "Müller-Groß=muller-gross, Béranger=beranger, Þórsdal=thorsdal, Yıldız=yildiz, Kőszegi=koszegi,"
            "Ķīsis=kisis, Peña=pena"
        ),
    ),
    Script(
        "cyrillic",
        9,
        _names("Олена=olena, Мирослав=myroslav, Ксения=kseniya, Їванко=yivanko, Борис=boris, Дарина=daryna"),
        _names(
            "Ковалишин=kovalyshyn, Зорянська=zorianska, Белоусов=belousov, Щедрик=shchedryk, Ђурић=djuric"
        ),
    ),
    Script(
        "greek",
        6,
        _names("Οδυσσέας=odysseas, Καλλιόπη=kalliopi, Ιάσονας=iasonas, Φωτεινή=foteini, Άγγελος=angelos"),
        _names("Θαλασσινός=thalassinos, Ξενάκη=xenaki, Βουνίδης=vounidis, Ψαράς=psaras, Λυγερού=lygerou"),
    ),
    Script(
        "khmer",
        6,
        _names("សុភា=sophea, វណ្ណា=vanna, ចន្ទ្រា=chantrea, រស្មី=raksmey, ពិសិដ្ឋ=piseth"),
        _names("កែវ=keo, ឈឹម=chhim, ម៉ៅ=mao, លឹម=lim, ស៊ឹម=sim"),
    ),
    Script(
        "chinese",
        8,
        _names("雨桐=yutong, 浩然=haoran, 靜怡=jingyi, 思远=siyuan, 美玲=meiling, 志強=zhiqiang"),
        _names("欧阳=ouyang, 陳=chen, 林=lin, 諸葛=zhuge, 赵=zhao, 黃=huang"),
    ),
    Script(
        "arabic",
        7,
        _names("ليلى=layla, يوسف=yousef, نور=nour, سامي=sami, هدى=huda, عبد الرحمن=abdulrahman"),
        _names("النجار=alnajjar, الحداد=alhaddad, بن صالح=binsaleh, القمري=alqamari, درويش=darwish"),
    ),
    Script(
        "tamil",
        4,
        _names("கவிதா=kavitha, முருகன்=murugan, இளவரசி=ilavarasi, அருண்=arun"),
        _names("செல்வம்=selvam, பாண்டியன்=pandiyan, நடராஜன்=natarajan, குமரன்=kumaran"),
    ),
    Script(
        "devanagari",
        4,
        _names("अनुष्का=anushka, विक्रम=vikram, मीनाक्षी=minakshi, रोहन=rohan"),
        _names("शर्मा=sharma, त्रिपाठी=tripathi, देशमुख=deshmukh, ठाकुर=thakur"),
    ),
    Script(
        "hangul",
        3,
        _names("서연=seoyeon, 민준=minjun, 하늘=haneul, 지우=jiwoo"),
        _names("김=kim, 박=park, 남궁=namgung, 최=choi"),
    ),
    Script(
        "hebrew",
        2,
        _names("נועה=noa, איתן=eitan, שירה=shira, עומר=omer"),
        _names("כרמלי=carmeli, ברק=barak, אלמוג=almog, שדה=sadeh"),
    ),
    Script(
        "thai",
        1,
        _names("สมใจ=somjai, กานดา=kanda, ธนา=thana"),
        _names("แสงทอง=saengthong, ศรีสุข=srisuk, วงษ์ดี=wongdee"),
    ),
)

MAIL_DOMAINS: Final = ("example.test", "learn.example", "mail.learn.example", "health.example.test")

COURSE_SUBJECTS: Final = (
    "Fire Safety",
    "Respectful Workplace",
    "Privacy & Records",
    "Hand Hygiene",
    "First Aid – Level 1",
    "Écrire clairement",
    "Data Literacy",
    "Cultural Safety",
    "Leading Teams",
    "Procurement Basics",
    "Accessible Documents",
    "Manual Handling",
)

COURSE_FORMS: Final = ("Introduction", "Refresher", "for Supervisors", "eLearning", "Workshop", "Part 2")

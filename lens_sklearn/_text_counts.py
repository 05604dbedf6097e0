"""What can be counted in a text, in any language: the features of a response.

A feature is a function of a response, or of a prompt and a response. Each is one line of a
table; whatever several of them need is counted once a text, by :class:`Text`.
"""

import re
from collections import Counter
from functools import cached_property
from math import log1p

# Scripts that put no spaces between words: each of their letters counts as a word.
UNSPACED = (
    "\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6"
    "\u1000-\u102a\u1780-\u17b3"
)
# Signs that belong to a word and that "\w" leaves out: accents, points, vowels of Indic scripts.
MARKS = (
    "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0951-\u0963\u0981-\u0df3"
)
LETTERS = rf"[^\W_{UNSPACED}]"
WORD = re.compile(rf"{LETTERS}+(?:[{MARKS}]+{LETTERS}*|['’]{LETTERS}+)*|[{UNSPACED}]")
# A run of marks is looked at from its first one alone: from each of them takes quadratic time.
SENTENCE_END = re.compile(
    r"[.!?…](?<![.!?…]{2})(?<!\d\.)[.!?…]*[\"'”’»)\]*_]*(?:\s|$)|[。！？｡।॥؟۔]|\n"
)
PARAGRAPH_BREAK = re.compile(r"\n[ \t\r]*\n\s*")
LIST_ITEM = re.compile(
    r"^[ \t]*(?:[•‣◦▪●○・]|\d{1,3}[、．]|(?:[-*+–—]|\(?(?:\d{1,3}|[A-Za-z])[.)])[ \t])", re.M
)
HEADING = re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+\S|^[ \t]*\*\*[^*\n]+\*\*:?[ \t]*$", re.M)
BOLD = re.compile(r"\*\*(?=\S)[^*\n]+\*\*|<(?:b|strong)>")
FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.M)
INLINE_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
LINK = re.compile(r"https?://|(?<![/.\w])www\.|\]\((?!https?:|www\.)")
TABLE_ROW = re.compile(r"^[ \t]*\|[^\n]*\|[ \t]*$", re.M)
MATH = re.compile(r"\\\(|\\\[|\\begin\{|\$\$|(?<![\w$])\$(?=[^\s$])[^$\n]{0,200}(?<=\S)\$(?![\d$])")
EMOJI = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55]")
FINISHED = re.compile(
    r"[.!?…。！？｡।॥؟۔\"”’»」』)）\]}`|$>*\u2600-\u27bf\U0001f300-\U0001faff]\s*$"
)

FIRST_PERSON = frozenset(
    "i me my mine myself i'm i've i'd i'll je me moi mon ma mes j'ai ich mich mir mein meine yo "
    "mi mis eu meu minha io mio mia я меня мне мой моя мои ben benim ik mij mijn 我 私 僕 俺 "
    "나 저 내 제 제가 내가 나는 저는 أنا मैं मुझे मेरा मेरी".split()
)
OPENING = 200  # characters in which a text's opening is looked for
REFUSALS = (
    # words that end where the next one begins, then scripts and stems where they need not
    r"(?:but |no,? )?(?:i (?:can(?:'t|not)|can not|won't|will not|must decline|am unable|"
    r"am not able|am not comfortable|don't feel comfortable|do not feel comfortable|"
    r"don't think i can|have to decline|apologi[sz]e)|"
    r"i'm (?:unable|not able|not comfortable|afraid i can't)|"
    r"i(?:'m| am) (?:very |so |really )?sorry,? (?:but|i|that i)|sorry,? (?:but )?i|my apologies|"
    r"unfortunately,? i|as an? (?:ai|large language|language)|it(?:'s| is) not appropriate|"
    r"it (?:would|wouldn't) (?:not )?be (?:in)?appropriate|es tut mir leid|tut mir leid|leider|"
    r"entschuldigung|ich kann (?:das |dir |ihnen |dabei )*nicht|(?:je suis )?désolée?|"
    r"je ne peux pas|malheureusement|lo siento|lamentablemente|lamento|no puedo|desculpe|"
    r"sinto muito|infelizmente|não posso|mi dispiace|purtroppo|non posso|het spijt me|helaas|"
    r"üzgünüm|maalesef|przepraszam|niestety|извините|простите|к сожалению|мне жаль|"
    r"я не могу)(?!\w)",
    r"(?:很)?抱歉|(?:对|對)不起|不好意思|我(?:无法|無法|不能)|申し訳|すみません|ごめんなさい|죄송|미안|"
    r"عذر|آسف|للأسف|لا أستطيع|क्षमा|माफ़|मुझे खेद|ขออภัย|ขอโทษ|xin lỗi",
)
COURTESIES = (
    r"(?:sure|certainly|of course|absolutely|definitely|no problem|gladly|"
    r"(?:that's an? |that is an? |what an? )?"
    r"(?:great|good|excellent|wonderful|interesting|fantastic) "
    r"(?:question|idea|choice|topic)|thank you|thanks|(?:i'm |i am |i'd be |i would be )?"
    r"(?:happy|glad|pleased|delighted) to|i'd love to|hello|hi|hey|"
    r"natürlich|gerne?|selbstverständlich|klar|gute frage|danke|bien sûr|certainement|"
    r"avec plaisir|bonne question|merci|claro|por supuesto|con gusto|desde luego|gracias|"
    r"com certeza|claro que sim|obrigad[oa]|certo|certamente|volentieri|ottima domanda|grazie|"
    r"zeker|natuurlijk|tabii|elbette|oczywiście|конечно|разумеется|спасибо|хороший вопрос)(?!\w)",
    r"当然|當然|好的|没问题|沒問題|谢谢|もちろん|はい|ありがとう|물론|네[,.! ]|감사|بالطبع|"
    r"بالتأكيد|شكرا|बिल्कुल|ज़रूर|धन्यवाद|แน่นอน|chắc chắn",
)
REFUSAL_START, OPENING_COURTESY = (
    re.compile(r"[\W_]*(?:" + "|".join(parts) + ")") for parts in (REFUSALS, COURTESIES)
)
LOG_PROMPT = 5.0  # log of 150 characters, a prompt of usual length


class Text:
    """A text and what features share of it, counted when first asked for.

    Parameters
    ----------
    text : str
        It may be empty.
    """

    def __init__(self, text):
        self.text = text

    @cached_property
    def characters(self):
        """How often each character is there, a Counter."""
        return Counter(self.text)

    @cached_property
    def words(self):
        """Its words in order, without their case; a list of str."""
        return WORD.findall(self.text.casefold())

    @cached_property
    def vocabulary(self):
        """Its distinct words."""
        return frozenset(self.words)

    @cached_property
    def opening(self):
        """Its first characters, without case and with straight apostrophes."""
        return self.text[:OPENING].casefold().replace("’", "'")

    def count(self, characters):
        """Count some characters.

        Parameters
        ----------
        characters : str
            Which ones.

        Returns
        -------
        int
            Of all of them together.
        """
        return sum(map(self.characters.__getitem__, characters))

    def count_if(self, test):
        """Count the characters that pass a test.

        Parameters
        ----------
        test : callable of str
            Of one character.

        Returns
        -------
        int
            How many.
        """
        return sum(n for character, n in self.characters.items() if test(character))


def share(part, whole):
    """Divide two counts; nothing of nothing is 0."""
    return part / whole if whole else 0.0


def matches(pattern, *needed):
    """Return the feature log(1 + number of matches), 0 at once if nothing needed is there."""

    def feature(response):
        if needed and not any(part in response.text for part in needed):
            return 0.0
        return log1p(len(pattern.findall(response.text)))

    return feature


def occurrences(characters):
    """Return the feature log(1 + how often some characters occur)."""

    def feature(response):
        return log1p(response.count(characters))

    return feature


def _paragraphs(response):
    text = response.text.strip()
    return log1p(len(PARAGRAPH_BREAK.findall(text)) + bool(text))


def _lines(response):
    return log1p(sum(1 for line in response.text.split("\n") if line and not line.isspace()))


def _code_fences(response):
    return log1p((len(FENCE.findall(response.text)) + 1) // 2)  # one may be left open


def _emoji(response):
    text = response.text
    return 0.0 if text.isascii() else log1p(len(EMOJI.findall(text)))


def _capitals(response):
    upper = response.count_if(str.isupper)
    return share(upper, upper + response.count_if(str.islower))


def _sentence_length(response):
    pieces = SENTENCE_END.split(response.text)
    return log1p(share(len(response.words), sum(1 for p in pieces if p and not p.isspace())))


def _repeated_trigrams(response):
    words = response.words
    n = max(0, len(words) - 2)
    return 1 - share(len(set(zip(words, words[1:], words[2:], strict=False))), n) if n else 0.0


def _by_prompt_length(prompt, response):
    if not prompt.text:
        return 0.0
    return log1p(len(response.text)) * (log1p(len(prompt.text)) - LOG_PROMPT)


#: Features of a response, each a function of its `Text`.
OF_RESPONSE = {
    "log_characters": lambda r: log1p(len(r.text)),
    "log_words": lambda r: log1p(len(r.words)),
    "log_lines": _lines,
    "log_paragraphs": _paragraphs,
    "log_list_items": matches(LIST_ITEM),
    "log_headings": matches(HEADING, "#", "**"),
    "log_bold": matches(BOLD, "**", "<"),
    "log_code_fences": _code_fences,
    "log_inline_code": matches(INLINE_CODE, "`"),
    "log_links": matches(LINK, "://", "www.", "]("),
    "log_table_rows": matches(TABLE_ROW, "|"),
    "log_math": matches(MATH, "$", "\\"),
    "log_questions": occurrences("?？؟"),  # Spanish closes what "¿" opens
    "log_exclamations": occurrences("!！"),
    "log_colons": occurrences(":："),
    "log_quotes": occurrences('"“”„«»「」『』'),
    "log_parentheses": occurrences("(（"),
    "log_emoji": _emoji,
    "digits_share": lambda r: share(r.count_if(str.isdigit), len(r.text)),
    "capitals_share": _capitals,
    "non_ascii_share": lambda r: share(r.count_if(lambda c: c > "\x7f"), len(r.text)),
    "log_word_length": lambda r: log1p(share(sum(map(len, r.words)), len(r.words))),
    "log_sentence_length": _sentence_length,
    "distinct_words_share": lambda r: share(len(r.vocabulary), len(r.words)),
    "repeated_trigrams_share": _repeated_trigrams,
    "first_person_share": lambda r: share(sum(w in FIRST_PERSON for w in r.words), len(r.words)),
    "refusal_start": lambda r: float(REFUSAL_START.match(r.opening) is not None),
    "opening_courtesy": lambda r: float(OPENING_COURTESY.match(r.opening) is not None),
    "finished": lambda r: float(_is_finished(r.text)),
}
#: Features of a prompt and a response, each a function of their `Text`; 0 without a prompt.
OF_BOTH = {
    "prompt_overlap": lambda p, r: share(len(p.vocabulary & r.vocabulary), len(p.vocabulary)),
    "response_overlap": lambda p, r: share(len(p.vocabulary & r.vocabulary), len(r.vocabulary)),
    "log_characters_by_prompt": _by_prompt_length,
}
NAMES = (*OF_RESPONSE, *OF_BOTH)


def _is_finished(text):
    text = text.rstrip()
    if FINISHED.match(text[-1:]):
        return True
    return LIST_ITEM.match(text[text.rfind("\n") + 1 :]) is not None

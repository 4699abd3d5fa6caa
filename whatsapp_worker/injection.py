r"""What injection attacks look like, whatever they are wrapped in.

WhatsApp shows a text as it is: nothing in it can run there, and `'` is an apostrophe.  Seed 003
still asks for a look at injection patterns, because texts also end up in other people's databases
and web pages.  So STANDARD holds what has the *shape* of an attack (a statement that is stacked,
a condition that is always true, a tag that runs code) and never a word or a sign alone; where a
shape is also good prose, prose wins, and the comment beside the pattern says what slips through.
STRICT is the seed's own list of words and signs, which finds "I'm" and "Order #12".

Every pattern runs over a few *readings* of the text (`readings`), in which obfuscations are
undone: lower case, wide letters narrowed, `%27` and `&#39;` decoded, invisible characters gone,
runs of blanks made one, inline comments cut out.  So a pattern needs no `\s*`: all repeats are
bounded and none varies inside another, which keeps matching linear (a test walks the patterns).
"""

import re
import unicodedata
from typing import NamedTuple
from urllib.parse import unquote


class Rule(NamedTuple):
    """One kind of attack.

    Attributes:
        kind: what to call it in a detail; worded so that it repeats nothing an attack would hold.
        sign: what each of the shapes has in it; most texts have it not, and need no closer look.
        patterns: its shapes, for lower-case readings; the regex engine is quickest one at a time.
    """

    kind: str
    sign: re.Pattern[str]
    patterns: tuple[re.Pattern[str], ...]

    def matches(self, texts: tuple[str, ...]) -> bool:
        """Whether any of `texts` has one of the shapes."""
        for text in texts:
            if self.sign.search(text) and any(shape.search(text) for shape in self.patterns):
                return True
        return False


def _rule(kind: str, sign: str, *patterns: str) -> Rule:
    shapes = tuple(re.compile(each, re.MULTILINE | re.ASCII) for each in patterns)
    return Rule(kind, re.compile(sign), shapes)


_EVENTS = (  # DOM events that markup can name, by stem.
    "abort|after|animation|auxclick|before|begin|blur|cancel|canplay|change|click|close|"
    "contextmenu|copy|cuechange|cut|dblclick|drag|drop|duration|emptied|end|error|focus|formdata|"
    "fullscreen|gotpointer|hashchange|input|invalid|key|load|lostpointer|message|mouse|offline|"
    "online|page|paste|pause|play|pointer|popstate|progress|ratechange|ready|repeat|reset|resize|"
    "scroll|search|seek|select|show|slotchange|stalled|start|storage|submit|suspend|timeupdate|"
    "toggle|touch|transition|unhandled|unload|volumechange|waiting|webkit|wheel"
)
_EVENT = rf"on(?:{_EVENTS})[a-z]{{0,24}}\s?="

_QUOTE = r"['\"]\){0,4}\s?"  # The end of somebody's string, brackets closed behind it.
_JOIN = r"(?:or|and|xor|having|\|\||&&)\s?\({0,4}"
_CUT = r"(?:--|\#|/\*)[ +;-]{0,4}"
_END = rf"\s?{_CUT}(?:$|&)"  # The rest of a statement cut off: nothing follows.
_AFTER_LETTER = r"(?:(?<=\w)|(?<![^\n]))"  # Or at the start of a line.
_SAME = r"(?P<side>[\w.]{1,24})['\"]?\)?\s?(?:={1,3}|like|<=>)\s?\(?['\"]?(?P=side)\b"
_OBJECT = "(?:table|database|schema|view|user|index|procedure|login)"
_NAME = r"[\[`\"]?[a-z_][\w.]{0,60}[\]`\"]?"
_STOP = r"\s?(?:;|--|\#|/\*|'|cascade\b|where\s[\w.]{1,40}\s?[=<>])"
_TABLE = r"from\s(?!(?:the|an?|each|our|my|your|this|that)\b)[\w(`]"  # "from the list" is prose.
_SUBQUERY = rf"\(\s?select\s?(?:\*|\(|[\w.,()*]{{1,60}}\s{_TABLE})"
_PROBES = (
    "(?:pg_)?sleep|benchmark|ascii|substr|substring|extractvalue|updatexml|exists|length|"
    "load_file|randomblob|char|database|version"
)


def _spread(word: str) -> str:
    """`word` with a blank allowed between any two letters, as browsers read URL schemes."""
    return r"\s?".join(map(re.escape, word))


_JAVASCRIPT = _spread("javascript:")
STANDARD = (
    _rule(
        "HTML that runs code",
        "<",
        # "Use <script> tags" is refused as well: an unclosed tag is the attack itself.  "a
        # <scripture>" and "size < script" (a blank, and no `>`) are prose.
        r"</?script(?:[\s/>]|$)",
        r"<\s?/?\s?script(?:[\s/][^<>]{0,200})?>",
        # `List<Object>`, `Map<embed>`: a word before the bracket makes it a type, not a tag.
        r"(?<!\w)<(?:iframe|frameset|object|embed|applet)(?:[\s/>]|$)",
        r"<(?:iframe|object|embed)[\s/][^<>]{0,200}=",
        # Tags that load or redirect; "<link>" and "<base>" as placeholders are prose.
        r"<(?:meta|base|link)[\s/][^<>]{0,200}(?:http-equiv|href)\s?=",
        r"<[a-z][^<>]{0,200}(?:style\s?=[^<>]{0,100}expression\s?\(|srcdoc\s?=)",
    ),
    _rule(
        "an HTML event handler",
        "=",
        # Not any `on...=`: "a <b and once = 1" is mathematics.  `>` may stand in a quoted value.
        rf"<[a-z!/?][^<]{{0,400}}[\s/\"'`]{_EVENT}",
        # Breaking out of somebody's attribute needs no `<`; "the 'onclick=' part" is talk.
        rf"[\"'][\s/]{_EVENT}",
        rf"[\"']{_EVENT}\s?[\"']?[\w.]{{1,40}}[(`]",
    ),
    _rule(
        "a URL that runs code",
        ":",
        # "JavaScript: the good parts" is a book, "the 'javascript:' scheme" is talk.  A URL calls
        # or assigns at once; after a blank ("JavaScript: map() explained") only what attacks call.
        rf"{_JAVASCRIPT}(?:[\w.$]{{1,60}}[(`=\[]|/[/*]|%[0-9a-f]|[(\[{{][\w(]|void\s?[(0-9])",
        rf"{_JAVASCRIPT}\s?(?:alert|confirm|prompt|eval)\s?[(`][^)]",
        rf"{_JAVASCRIPT}\s?(?:document\.[cdwl]|window\.(?:location|open)|location\s?=)",
        rf"(?:(?:href|src|action|data|background|poster)\s?=|\]\()\s?[\"']?{_JAVASCRIPT}",
        rf"{_spread('vbscript:')}\s?(?:[\w.]{{1,40}}[(\"]|msgbox\s?[\"'])",
        rf"{_spread('data:')}\s?(?:text/html|image/svg\+xml|application/xhtml\+xml)\s?[;,]\S",
    ),
    _rule(
        "an SQL condition that is always true",
        r"['\"=#]|--|/\*",
        # After a quote the same thing on both sides is an attack; "x = y or 1 = 1 more" is not.
        rf"{_QUOTE}{_JOIN}(?:not\s)?['\"]?{_SAME}",
        rf"{_QUOTE}{_JOIN}['\"]['\"]?\s?={{1,3}}\s?['\"]",
        rf"{_QUOTE}(?:or|\|\|)\s?\(?\d{{1,9}}\s?[<>=!]{{1,3}}\s?\d",
        rf"{_QUOTE}(?:or|\|\|)\s?\(?(?:\d{{1,9}}|true|not false)\){{0,4}}{_END}",
        rf"{_QUOTE}(?:and|having)\s?\(?\d{{1,9}}\s?={{1,3}}\s?\d",
        # Without a quote it needs the cut after it, or to be all there is ("105 OR 1=1"), or to
        # sit in a URL's query.  `or 1=1; DROP` is the next rule's.
        rf"\b(?:or|and|\|\|)\s?\(?['\"]?{_SAME}['\"]?\){{0,4}}{_END}",
        r"\A\s?-?\d{1,9}\){0,4}\s(?:or|\|\|)\s\(?(\d{1,9})\s?=\s?\1\){0,4}\s?\Z",
        r"[?&]\w{1,32}=[\w-]{0,32}['\"]?\s(?:or|and)\s\d{1,9}=\d",
    ),
    _rule(
        "a second SQL query joined to another",
        "union",
        r"\bunion\s(?:all|distinct)\s\(?\s?select\b",
        # "Did the union select a leader?", "the teachers' union select committee from Leeds" are
        # prose: what follows has to be a column list.
        r"\bunion\s?\(\s?select\b",
        r"\bunion\sselect\s(?:[*@'\"(`]|null\b|[\w.]{1,40}\(|\d{1,9}\s?(?:,|--|\#|;|$))",
        r"\bunion\sselect\s[\w.]{1,40},\w",
        rf"\bunion\sselect\s(?!committee)[\w.]{{1,40}}(?:,\s?[\w.]{{1,40}})?\s{_TABLE}",
    ),
    _rule(
        "a second SQL statement",
        ";",
        # "Drop the table off at 5; thanks", "...; drop index cards", "...; delete from gallery"
        # are advice: an object's kind and name have to follow, and then the statement's end, or
        # the end of a value (a quote, a digit, a bracket) has to stand before.
        rf";\s?(?:drop|truncate)\s{_OBJECT}\s(?:if exists\s)?{_NAME}{_STOP}",
        rf"['\"\d)]\s?;\s?(?:drop|truncate)\s{_OBJECT}\s(?:if exists\s)?{_NAME}\s?$",
        rf";\s?delete\sfrom\s{_NAME}{_STOP}",
        rf"['\"\d)]\s?;\s?delete\sfrom\s{_NAME}\s?(?:$|where\b)",
        rf";\s?insert\sinto\s{_NAME}\s?(?:\([^()]{{1,200}}\)\s?)?(?:values\s?\(|select\b)",
        rf";\s?update\s{_NAME}\sset\s{_NAME}\s?=",
        rf"['\"\d)]\s?;\s?(?:alter|create)\s{_OBJECT}\s{_NAME}\s?"
        r"(?:\(|add\b|drop\b|with password|identified by|rename\b|as\b)",
        r";\s?exec(?:ute)?\s?\(?\s?(?:master\.|xp_|sp_)",
        r";\s?declare\s@\w{1,60}\s(?:as|n?varchar|n?char|int|table)\b",
        rf";\s?(?:shutdown|commit|rollback)(?:\swith nowait)?\s?;?{_END}",
        r";\s?select\s(?:\*|@@|[\w.]{1,40}\()",  # Not "at 5; select one from the list".
        rf"['\"]\s?;\s?select\s[\w.*@(),' ]{{1,60}}{_END}",
        r";\s?grant\sall\s(?:privileges\s)?on\b",
    ),
    _rule(
        "an SQL probe",
        r"['\"(]",
        r"\bwaitfor\sdelay\s?'",
        r"\bxp_cmdshell\s?[('\"]",
        r"\binto\s(?:outfile|dumpfile)\s?['\"]",
        r"\bselect\s?\(?\s?(?:(?:pg_)?sleep|benchmark)\s?\(\s?\d",
        # "'OK' and (select your size)" and "'box', length (cm)" are prose.
        rf"{_QUOTE}(?:{_JOIN}|\+\s?)(?:not\s)?(?:{_PROBES})\(",
        rf"{_QUOTE}(?:{_JOIN}|\+\s?|in\s?){_SUBQUERY}",
        rf"{_QUOTE}{_JOIN}\d{{1,9}}\sin\s?\(\s?select\b",
        rf"{_QUOTE}(?:order|group)\sby\s[\w,]{{1,24}}{_END}",
        rf"\d\){{0,4}}\s(?:or|and)\s(?:{_SUBQUERY}|(?:pg_)?sleep\(\d|benchmark\(\d)",
    ),
    _rule(
        "a quote that cuts off the rest of an SQL statement",
        r"--|\#|/\*",
        # "'Yes' -- she said", "the boys' #1": so nothing may follow the cut, and the quote has to
        # be the line's first (a quotation has two).  With a blank before it the cut has to end
        # the text: "Just talkin' --" may end a line.  Digits: 12" is no end of a string.
        rf"^[^'\n]{{0,400}}{_AFTER_LETTER}'\){{0,4}};?{_CUT}(?:$|&)",
        rf"^[^'\n]{{0,400}}{_AFTER_LETTER}'\){{0,4}}\s?;?\s?{_CUT}\Z",
        rf"^[^\"\n]{{0,400}}(?<!\d)\"\){{0,4}};?{_CUT}(?:$|&)",
        rf"^[^\"\n]{{0,400}}(?<!\d)\"\){{0,4}}\s?;?\s?{_CUT}\Z",
        r"(?<=\w)'/\*(?:\s|$)",
    ),
)

# The seed's list as the Go worker had it (measured).
STRICT = (
    _rule(
        "a word of the strict list (an SQL command)",
        "",
        r"\b(?:select|insert|update|delete|drop|create|alter|exec|execute)\b",
        r"\b(?:union|or|and)\s\d{1,18}\s?=\s?\d",
    ),
    _rule("a sign of the strict list (such as an apostrophe)", "", r"['#;|*]|--|/\*|\*/"),
    _rule(
        "markup of the strict list",
        "",
        r"<script[^<>]{0,400}>|javascript:|\bon\w{1,40}\s?=|<(?:iframe|object|embed)",
    ),
)


# Readings --------------------------------------------------------------------------------------

_MAX_DECODINGS = 3  # `%2527` is `'` written twice over; nobody needs more, and it has to end.
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))
_BLANKS = re.compile(r"[^\S\n]{2,}|[^\S\n ]")  # Not the single blank, which all become.
_LINE_ENDS = re.compile(r" ?\n[ \n]*")
_PERCENT = re.compile(r"%[0-9a-f]{2}")
_ESCAPE = re.compile(r"\\(?:u00|x)([0-9a-f]{2})")
_ENTITY = re.compile(
    r"&(?:\#0{0,8}(?P<decimal>[0-9]{1,7})|\#x0{0,8}(?P<hexadecimal>[0-9a-f]{1,6})"
    r"|(?P<name>lt|gt|quot|apos|amp|colon|lpar|rpar|equals|semi|sol|num|tab|newline)(?=;));?"
)
_NAMED = {
    "lt": "<", "gt": ">", "quot": '"', "apos": "'", "amp": "&", "colon": ":", "lpar": "(",
    "rpar": ")", "equals": "=", "semi": ";", "sol": "/", "num": "#", "tab": "\t", "newline": "\n",
}  # fmt: skip
# MySQL runs what stands in `/*! */`; any other comment is as good as a blank, or as nothing
# where a filter before us has cut it out.
_COMMENT = re.compile(r"/\*(?!!)[^*/]{0,80}\*/|/\*!\d{0,6}|\*/")


def readings(text: str) -> tuple[str, ...]:
    """The text as those may read it whom an attack is aimed at; all lower case."""
    folded = decoded = _fold(text)
    for _ in range(_MAX_DECODINGS):
        coded, decoded = decoded, _fold(_decode(decoded))
        if decoded == coded:
            break
    readings = {_squeeze(folded): None}
    if decoded != folded:
        readings[_squeeze(decoded)] = None
    if "/*" in decoded:
        for gap in ("", " "):
            readings[_squeeze(_COMMENT.sub(gap, decoded))] = None
    return tuple(readings)


def _fold(text: str) -> str:
    if text.isascii():  # Then the rest would change nothing.
        return text.lower()
    return unicodedata.normalize("NFKC", text).translate(_UNSEEN).lower()


def _squeeze(text: str) -> str:
    """Blanks and line ends, each run made one."""
    if "  " in text or not text.isprintable():  # No other blank is printable.
        text = _BLANKS.sub(" ", text)
    return _LINE_ENDS.sub("\n", text) if "\n" in text else text


def _decode(text: str) -> str:
    if "%" in text and _PERCENT.search(text):
        text = unquote(text.replace("+", " "))
    if "\\" in text:
        text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(entity: re.Match[str]) -> str:
    if entity["name"]:
        return _NAMED[entity["name"]]
    code = int(entity["decimal"]) if entity["decimal"] else int(entity["hexadecimal"], 16)
    return chr(code) if code <= 0x10FFFF else ""

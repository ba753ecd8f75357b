"""What a language model says besides the text that it was asked for: refusals, openers, and parts of its prompt.

People write "I'm sorry but I can't log in" and "as an AI researcher, I ...": a form counts only where it stands as
models put it, at the start of a sentence or of the text, and with what models put after it. What real texts of the
workspace hold themselves is no sign of a model: `usual` finds such forms, and the others take them as an argument.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from synalign.llm.validation.overlap import SharedRuns, normalise
from synalign.llm.validation.personal import PLACEHOLDER

#: Words in one run that show that a text repeats what its prompt says.
LEAKED_RUN = 8

#: Real texts that are looked at, at most, to find which forms are usual.
SAMPLE = 2000

# Share of the real texts that have a form, from which it is usual.
_USUAL_SHARE = 0.002

# The start of a sentence, or of a text in quotation marks.
_S = r"(?:^|[.!?。！？\n]['\"”’)]?\s*|^[\"'“„«*(]\s*)"
_SORRY = (
    r"(?:i'?m|i am|we'?re|my apologies|i apologi[sz]e|unfortunately|apologies)?[ ,]*(?:(?:very|so|really|truly) )?"
    r"(?:sorry)?[ ,]*(?:but )?"
)
_CANNOT = (
    r"(?:i|we) (?:can'?t|can ?not|won'?t|(?:am|are|'m|'re) (?:unable|not able) to|could not|do not feel comfortable)"
)
_KINDS = (
    r"(?:examples?|reviews?|messages?|texts?|tweets?|records?|samples?|variations?|versions?|sentences?|posts?|"
    r"comments?"
    r"|responses?|complaints?|outputs?|json|list|entries|paragraphs?)"
)

_REFUSALS: dict[str, str] = {
    "an assistant's self-description": (
        _S + r"(?:(?:i'?m |i am )?sorry,? (?:but )?)?as an? (?:ai|artificial intelligence|(?:large )?language model)"
        r"(?: (?:language )?(?:model|assistant|chatbot|system|program))?"
        r"(?: (?:developed|created|trained|made|built) by \w+)?,? (?:i|we|my|it)\b"
    ),
    "an assistant's self-introduction": (
        _S + r"(?:i'?m|i am) (?:just |only )?(?:an? (?:large )?(?:ai|artificial intelligence|language) (?:language )?"
        r"(?:model|assistant|chatbot)|an ai)(?: (?:developed|created|trained|made|built|and|so|designed)\b|[,.;])"
    ),
    "a refusal": (
        _S + _SORRY + _CANNOT + r" (?:assist (?:you )?with|help (?:you )?with (?:that|this)(?: request| task)?[.!,]"
        r"|(?:fulfil+|comply with) (?:that|this|your|such)(?: an?)? (?:request|instruction|prompt)"
        r"|(?:generate|provide|write|create|produce|share|answer|discuss|complete|continue|do|offer|engage in|"
        r"participate in) (?:with )?(?:that|this|such|any|your|explicit|harmful|medical|legal|content|text)"
        r" ?(?:kind of |type of )?(?:requests?|content|text|information|advice|task|material|examples?|reviews?|"
        r"messages?|tweets?|conversations?|discussions?)?(?:[.!,;]|$| (?:as|because|that|since)))"
    ),
    "a refusal by policy": (
        r"\b(?:against|violates?|conflicts? with) (?:my (?:guidelines|programming|ethical|content)|openai|anthropic)"
    ),
    "a denial of experience": (
        r"\bi (?:don'?t|do not) have (?:any )?personal (?:experiences?|opinions?|emotions?|feelings|beliefs|"
        r"preferences)\b"
    ),
    "a refusal in German": (
        _S + r"(?:(?:es )?tut mir (?:sehr )?leid,? (?:aber )?)?(?:"
        r"als (?:eine? )?(?:gro(?:ß|ss)es )?(?:ki|künstliche intelligenz|(?:ki-?)?sprachmodell|ki-modell|"
        r"ki-assistent(?:in)?|ki-system)(?![\w-]),? (?:kann|habe|bin|darf|ist|werde|verfüge)"
        r"|(?:ich kann|(?:dabei|damit|das) kann ich) (?:ihnen |dir )?(?:(?:dabei|damit|diese[rn]?|bei dieser)"
        r"[^.!?\n]{0,30})?(?:leider )?nicht (?:weiterhelfen|helfen|nachkommen|erfüllen|unterstützen)[.!,])"
    ),
    "a refusal in Spanish": (
        _S + r"(?:lo siento,? (?:pero )?)?(?:como (?:un |una )?(?:modelo de (?:lenguaje|ia)|inteligencia artificial|"
        r"ia|asistente (?:de ia|virtual))(?: de ia)?,? (?:no|yo|mi|soy|estoy)"
        r"|no puedo (?:ayudar(?:te|le)? con (?:eso|esa|ese|esto|esta)|cumplir (?:con )?(?:esa|esta|tu|su) (?:solicitud|"
        r"petición)|(?:generar|proporcionar|crear) (?:ese |este )?(?:tipo de )?(?:contenido|texto)))\b"
    ),
    "a refusal in French": (
        _S + r"(?:(?:je suis )?désolée?,? (?:mais )?)?(?:en tant qu(?:e |')(?:un |une )?(?:grand )?"
        r"(?:modèle de langage|intelligence artificielle|ia|assistante? (?:ia|virtuele?))(?: ia)?,? (?:je|il|mon)"
        r"|je ne (?:peux|suis) pas (?:en mesure de )?(?:vous aider (?:avec|à) (?:cette|ce|cela)|répondre à (?:cette|"
        r"votre|ta) demande|(?:générer|fournir|créer) (?:ce |de tel )?(?:type de )?(?:contenu|texte)))"
    ),
    "a refusal in Portuguese or Italian": (
        _S + r"(?:desculpe,? (?:mas )?|mi dispiace,? (?:ma )?)?(?:como (?:um |uma )?(?:modelo de linguagem|ia|"
        r"inteligência artificial)|(?:come|in quanto) (?:un )?(?:modello (?:di linguaggio|linguistico)|ia|"
        r"intelligenza artificiale)),? (?:d[ei] ia,? )?(?:não|eu|non|io)\b"
    ),
    "a refusal in Dutch, Swedish or Polish": (
        _S + r"(?:als (?:een )?(?:ai(?:-taalmodel|-assistent)?|taalmodel),? (?:kan|heb|ben)"
        r"|som (?:en |ett )?(?:ai(?:-språkmodell|-assistent|-modell)?|språkmodell),? (?:kan|har|är)"
        r"|jako (?:model językowy|sztuczna inteligencja|ai),? )"
    ),
    "a refusal in Russian": (
        _S + r"(?:как (?:языковая модель|искусственный интеллект|ии|ai)[ ,]"
        r"|(?:извините, (?:но )?)?я не могу (?:помочь с этим|выполнить этот запрос))"
    ),
    "a refusal in Chinese": (
        r"作为(?:一个|一名|一款)?(?:大型)?(?:ai|人工智能|语言模型)(?:语言模型|助手|模型|助理)?[，,、 我]"
        r"|(?:抱歉|对不起)[，,]?(?:但)?我(?:无法|不能)(?:提供|生成|协助|满足|完成|回答|继续)(?:这|此|该|任何|您的请求|相关|[^。]{0,6}(?:内容|信息|建议|评论))"
    ),
    "a refusal in Japanese or Korean": (
        r"(?:ai|人工知能|言語モデル)(?:言語モデル|アシスタント|モデル)?として(?:、|私|お)"
        r"|申し訳(?:ありません|ございません)が[^。]{0,30}(?:生成|お答え|お手伝い)[^。]{0,8}(?:できません|できかねます)"
        r"|(?:ai|인공지능) ?(?:언어 ?모델|어시스턴트)?로서"
    ),
    "an opener": (
        r"^(?:sure|certainly|of course|absolutely|great|okay|ok|no problem)(?: thing)?[,!.: ]+"
        r"(?:here(?:'s| is| are| you go)|below (?:is|are)|i can (?:generate|write|create) "
        r"|i(?:'d| would) be (?:happy|glad) to (?:help|assist|generate|write|create))"
        r"|^(?:certainly|sure|of course)!\s*(?:$|\n)"
    ),
    "an introduction": (
        rf"^(?:here(?:'s| is| are)|below (?:is|are)|the following (?:is|are)) [^.!?:\n]{{0,60}}\b{_KINDS}\b"
        r"[^.!?:\n]{0,80}:\s*(?:$|\n|[\"“'1*-])"
    ),
    "an introduction in another language": (
        r"^(?:(?:natürlich|gerne?|selbstverständlich|klar)[,!. ]+hier (?:sind|ist) "
        r"|hier (?:sind|ist) [^.!?:\n]{0,60}(?:beispiel|bewertung|text|nachricht|tweet)[^.!?:\n]{0,60}:"
        r"|¡?(?:claro|por supuesto|desde luego)[,!. ]+(?:aquí (?:tienes?|están?|hay|va)|a continuación)"
        r"|aquí (?:tienes?|están?|hay) [^.!?:\n]{0,80}:\s*(?:$|\n|[\"«“1])"
        r"|(?:bien sûr|certainement)[,!. ]+voici "
        r"|voici [^.!?:\n]{0,60}(?:exemple|avis|message|texte|tweet)[^.!?:\n]{0,60}:"
        r"|(?:当然[可以]{0,2}[！!，,。 ]*)?以下是[^。：:\n]{0,30}(?:示例|例子|评论|文本|消息|样本)"
        r"|当然[可以]{0,2}[！!]\s*(?:$|\n|这|下面)|もちろんです[。！!]?\s*(?:$|\n|以下|こちら)|以下は[^。：:\n]{0,30}例)"
    ),
    "a closing offer": (
        r"\blet me know if (?:you(?:'d| would)? (?:need|like|want|have)|there(?:'s| is)) [^.!?\n]{0,40}\b"
        r"(?:more (?:examples|variations|reviews|texts|messages)|adjustments|revisions|modifications|"
        r"me to (?:generate|write|create))"
        rf"|{_S}i hope (?:this|these)(?: (?:examples?|texts?|reviews?))? helps?(?: you)?[.! ]*$"
        r"|希望(?:这|以上)些?[^。！]{0,4}(?:示例|例子|内容)[^。！]{0,6}(?:有帮助|对[你您])"
    ),
    "a note on the text": (
        _S + r"[(\[*]*(?:please )?note:?\**:? (?:that )?(?:this|these|the above|the following|all)(?: \w+){0,3} "
        r"(?:is|are|was|were|has been|have been) (?:an? |entirely |purely |completely )*"
        r"(?:synthetic|fiction|fictional|fictitious|generated|hypothetical|ai[- ]generated|simulated) ?"
        r"(?:[.,;)\]]|and|for|to|$|reviews?|texts?|messages?|examples?|tweets?|records?)"
        r"|\b(?:this|these) (?:is|are) (?:an? )?(?:synthetic|ai[- ]generated|machine[- ]generated) "
        r"(?:texts?|reviews?|messages?|tweets?|records?|examples?|data|samples?)\b"
    ),
    "a code fence": r"```",
    # People number the points of a list; a model numbers one record, of which there is one number only.
    "a number before the text": r"^[\"“]?\d{1,3}[.)]\s+(?=\S)(?![\s\S]*[^\d.,]\d{1,3}[.)]\s*[^\W\d])",
    "a heading before the text": (
        rf"^(?:#{{1,6}} (?=[^\W\d])|\*\*[^*\n]{{1,40}}\*\*:?|\*(?:{_KINDS})\b[^*\n]{{0,20}}\*)"
    ),
    "a name before the text": (
        rf"^[\"“]?(?:(?:synthetic|new|generated|customer|sample|example) )?{_KINDS}(?: ?#?\d{{1,3}})? ?[:：](?=\s*\S)"
        r"|^(?:beispiel|nachricht|bewertung|kundennachricht|ejemplo|reseña|mensaje|exemple|avis|esempio|recensione|"
        r"voorbeeld|exempel|文本|评论|示例|例子?|レビュー|テキスト)(?: ?#?\d{1,3})? ?[:：](?=\s*\S)"
    ),
}  # fmt: skip

_SLOT = (
    r"(?:your|insert|my|customer|company|product|store|shop|brand|business|website|recipient|sender|first|last|full|"
    r"user|order|account|tracking|phone|email|e-mail|street|city|address|date|number|amount|name|link|location|agent|"
    r"team|restaurant|hotel|movie|film|title|ihr|ihre|dein|tu|su|nombre|votre|您的|你的|姓名)"
)
_LEAKS: dict[str, str] = {
    "a slot to fill in": (
        rf"\[{_SLOT}(?![^\W_])(?:[ _]?[\w#'-]{{1,20}}){{0,4}}\]"
        r"|<(?:your|insert|customer|company|product|first|last|order)[ _-]?\w{0,20}>|\b(?-i:INSERT|YOUR)_[A-Z_]+\b"
    ),
    "a template's variable": (
        r"\{\{[^{}\n]{0,60}\}\}|\{%[^%\n]{0,60}%\}|\$\{\w+\}"
        r"|(?<![\w}])\{(?:\w{1,20}_\w{1,20}|(?:your |the )?(?:first|last|user|customer|product|order|company|"
        r"brand|store|city|date|item|movie|name|label|text|topic|number|amount|price|"
        r"count)(?:[ _]?(?:name|id|number|title))?)\}"
    ),
    "a tag of a prompt": (
        r"</?(?:demonstrations?|attributes?|think(?:ing)?|instructions?|system|user|assistant|examples?|prompt|output|"
        r"text|records?|response|answer)>|<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|</?s>"
        r"|#{2,4} ?(?:instruction|response|input)\b"
    ),
    "filler text": r"lorem ipsum|dolor sit amet",
    "JSON of an answer": (
        r"[{,]\s*\\?[\"'](?:text|records?|labels?|attributes|name|value)\\?[\"']\s*:|[\"']text[\"']\s*:\s*[\"']"
    ),
    "a placeholder": PLACEHOLDER.pattern,
}  # fmt: skip


def _compiled(forms: dict[str, str]) -> dict[str, re.Pattern[str]]:
    return {name: re.compile(form, re.IGNORECASE) for name, form in forms.items()}


_REFUSAL_FORMS, _LEAK_FORMS = _compiled(_REFUSALS), _compiled(_LEAKS)


def refusal(text: str, phrases: Collection[str] = (), *, allowed: Collection[str] = ()) -> str | None:
    """Return in words why a text is a refusal or boilerplate, or None if it is not.

    Args:
        text: one record.
        phrases: further phrases that mark a record, in whatever case; they count at the bounds of words only.
        allowed: names of forms that do not count here, see `usual`.
    """
    plain = _plain(text)
    for name, form in _REFUSAL_FORMS.items():
        if name not in allowed and (match := form.search(plain)):
            return f"{name}: {_excerpt(match)}"
    key = normalise(text)
    for phrase in phrases:
        wanted = normalise(phrase)
        if wanted and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", key):
            return f"the configured phrase {phrase!r}"
    return None


def leaked(text: str, prompt: SharedRuns | None = None, *, allowed: Collection[str] = ()) -> str | None:
    """Return in words what of a template or of its prompt stands in a text, or None if nothing does.

    Args:
        text: one record.
        prompt: the prompt's own words, without the data that it shows.
        allowed: names of forms that do not count here, see `usual`.
    """
    for name, form in _LEAK_FORMS.items():
        if name not in allowed and (match := form.search(text)):
            return f"{name}: {_excerpt(match)}"
    run = prompt.longest(text) if prompt is not None else None
    if run is not None and run.words >= LEAKED_RUN:
        return f"{run.words} words in one run of the prompt: '{' '.join(run.run)[:60]}'"
    return None


def forms(text: str) -> set[str]:
    """Return the names of all forms of refusals, boilerplate and templates that stand in a text."""
    plain = _plain(text)
    found = {name for name, form in _REFUSAL_FORMS.items() if form.search(plain)}
    return found | {name for name, form in _LEAK_FORMS.items() if form.search(text)}


def usual(real_texts: Sequence[str]) -> frozenset[str]:
    """Return the names of the forms that real texts have themselves: one in 500 of up to 2,000, by an even stride."""
    sample = real_texts[:: max(1, -(-len(real_texts) // SAMPLE))]
    counts = Counter(name for text in sample for name in forms(text))
    return frozenset(name for name, count in counts.items() if count >= max(1, _USUAL_SHARE * len(sample)))


def _plain(text: str) -> str:
    """Return the text with straight quotation marks and single spaces; line breaks, which part sentences, stay."""
    straight = text.strip().replace("\u2019", "'").replace("\u00a0", " ")
    return re.sub(r"[ \t]+", " ", straight)


def _excerpt(match: re.Match[str]) -> str:
    return repr(match[0].strip()[:60])

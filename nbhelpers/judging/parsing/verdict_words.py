"""The words by which a sentence is known to give a verdict, or not to. Lower case, one list for one job."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# May stand before a verdict in its own clause: "So I think that my verdict is". Any other word there and the clause
# gives none, so that nothing need be known about "hardly", "the student says" or "it would be wrong to say".
LEAD = _words(
    """
    judge that
    a about above after again all an analysis and answers assessment at balance based below better both
    careful carefully clear clearly comparing comparison conclude conclusion considering consideration
    consequently definitely evaluating evaluation final finally firm following hence here here's honest i
    i'd i'll i'm in indeed is it it's judging looking me my now of on opinion our ours overall personally
    reading reason resounding reviewing say short simple simply so solid step sum summary that that's the
    then therefore these this thus to together two up verdict view we whole will with would you'd think
    believe responses reasoning definite straightforward explanation feedback review result as follows
    """
)
NOT_BEFORE_BARE = _words(
    """
    about above below step after together two both all on following based answers
    """
)
# What may be agreed with, and what a grade is for: "my rating for this answer is 4".
WHOLES = _words(
    "the this that answer response reply statement claim view assertion sentence it above given assistant's"
)
CONCLUDES = _words("so therefore thus hence")
# Names what is given: "final verdict", "overall score". `WEAK`: also names what is judged, "the answer is".
NOUNS = _words(
    """
    selected chosen preferred
    verdict verdicts judgment judgement decision choice winner preference score rating grade mark pick
    selection conclusion result label evaluation assessment ruling final overall one output option
    classification vote urteil note bewertung punktzahl entscheidung veredicto puntuación calificación nota
    verdetto giudizio voto вердикт оценка итог вывод решение балл 结论 判断 判定 评分 得分 分数 评级 結論 評価
    点数 평가 점수 결론 판정 الحكم التقييم
    """
)
WEAK = _words(
    """
    answer response reply option choice one output solution prediction antwort réponse respuesta risposta
    resposta ответ 答案 回答 答え 答 정답 답 الإجابة الجواب
    """
)
QUALITIES = _words("better best stronger superior winning preferred preferable good")
MODIFIERS = (
    _words(
        """
    fair reasonable appropriate final overall my the our total a an so i that is think your correct right
    assigned numeric numerical letter 最终 最終 finales
    """
    )
    | QUALITIES
)
FINAL = _words(
    """
    final finally overall conclusion therefore thus hence so 最终 最終 total sum conclude
    """
)
OPTION_NOUNS = _words(
    """
    answer option response reply assistant model candidate choice solution output text summary translation
    system assistant's
    """
)
GRADE_NOUNS = _words("grade score rating verdict")
FIRM = _words("a an the clear definite firm resounding simple")
TO_BE = _words("to be is as the clearly slightly a")
PICKS = _words("call going find consider choose pick select prefer favor favour recommend chose opt vote go")
AFTER_PICK = _words(
    """
    a an
    with for on the answer option response reply assistant model candidate choice is it as
    """
)
GIVES = _words(
    """
    give rate score grade assign award deserves gets receives earns merits scores rated gave is
    """
)
AFTER_GIVES = _words(
    """
    it this the that answer response reply solution student's a an score rating grade of as at with to
    summary overall text translation
    """
)
SUBJECTS = _words(
    """
    the this that it it's its given submitted proposed provided predicted above answer response reply solution
    statement claim prediction submission student candidate model user student's candidate's model's assistant's
    user's so therefore thus hence overall final finally i think believe conclude
    """
)
BE = _words("is are was it's remains")
ADVERBS = _words(
    """
    clearly completely entirely fully definitely indeed certainly absolutely simply factually therefore thus
    also slightly significantly much far considerably substantially somewhat marginally overall obviously a
    an the my wholly totally perfectly undoubtedly
    """
)
WINS = _words("wins won")
AFTER_BETTER = _words(
    """
    answer option response reply one choice solution overall output assistant model
    """
)
JUDGED_NOUNS = _words("answer response reply one solution statement claim")
UNITS = _words("points point stars star marks 分 点 점")
BECAUSE = _words("because since due given weil denn parce porque потому 因为")
# May follow "A." at the beginning: an initial ("A. Lincoln") is followed by a name.
STARTERS = _words(
    """
    it its the this that these those there both answer option response reply assistant model i in my because
    while although as they he she we to of and all on for by
    """
)

# Before the verdict in its sentence, these take the certainty away.
HEDGES = _words(
    """
    sure if unless whether could might may should were suppose supposing assuming assume imagine pretend perhaps
    maybe possibly doubt unclear unsure initially almost nearly except hypothetically ask asks asked told
    say says said state states stated claim claims claimed reads read writes wrote contains ends quote
    quotes argues insists instructs orders order wants demands instruction instructions ignore ignoring
    according terms stylistically regarding concerning pretends example draft earlier first previously
    please reply replies output outputs respond
    """
)
ACKNOWLEDGES = _words("can will mean understand am")  # "Yes, I understand"
DENIED = _words("case true that think believe say mean")
PREPOSITIONS = _words("for on in as regarding concerning with by at of under per from")
JOINS = _words("but so and therefore thus hence yet then")
NEGATIONS = _words("not no never neither nor cannot without hardly barely")
PARTLY = _words("only partially partly almost nearly mostly")
# After the verdict in its sentence.
TURNS = _words(
    """
    guess suppose presumably allegedly supposedly apparently arguably
    kidding joking jk lol sarcasm sarcastic nobody according
    but though although however except if unless only partially partly or let wait maybe perhaps let's help
    almost nearly mostly provided assuming yet nonetheless otherwise sort kind could might
    """
)
# May not begin what follows the verdict: "correct, apart from the date", "yes (in part)".
LIMITS = _words(
    """
    for with apart aside save minus not excluding barring says said i at in on to of under within up when as
    where while until once though about approximately roughly around so sort kind just none
    """
)
DENIALS = _words("no incorrect false wrong bad nein non нет 否")
FIRMLY = _words("absolutely definitely certainly clearly completely totally exactly indeed obviously entirely fully")
CONDITIONS = _words("out possible guess if unless wait maybe perhaps except provided assuming")
TAKEN_BACK = _words("kidding joking jk wait scratch sorry oops apologies reconsider reconsidering correction")
CUES = _words(
    """
    better best wins win winner prefer preferred prefers choose chosen verdict verdicts superior correct
    right good great stronger pick select final also equally too tie score grade rating rate points stars
    deserves give
    """
)
COMPARES = _words("than over not unlike versus vs against")
REPORTS = HEDGES | _words(
    """
    text prompt system contain containing ending ended include includes including begins starts insisted
    injected injection attack following inserted written writing tells telling hidden message output replied
    reply asks line quote quoted submission
    """
)
LABEL_KEYS = _words(
    """
    correctness
    verdict judgment judgement decision choice winner preference score rating grade result label evaluation
    answer better best preferred classification vote overall final
    """
)
KEY_MODIFIERS = _words("final overall my total the correct") | LABEL_KEYS | OPTION_NOUNS

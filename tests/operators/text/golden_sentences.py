"""Sentences by language: each list, joined by spaces (or by nothing, where the script has none), splits into itself."""

from __future__ import annotations

# ruff: noqa: RUF001  other scripts are what is tested

GOLDEN: dict[str, list[list[str]]] = {
    "en": [
        ["The build took 3.5 minutes.", "Nobody minded."],
        ["Ask Dr. Meyer or Mrs. Lund, e.g. by mail.", "They answer."],
        ["It opens at 9 a.m. daily.", "Come early!", "Will you?"],
        ["We leave at 5 p.m.", "Bring a lamp."],
        ["That much is known.[3]", "The rest is guesswork.[4,5]", "Fine."],
        ["It was you and I.", "Then came Paul I. Ross.", "All left."],
        ["He reads settings. yaml is the format."],
        ["She shops at Oho! in the old town.", "Cheap."],
        ["Wait . . . there is more.", "Look!"],
        ["They went on and on . . . .", "Then silence."],
        ["Is it cited (Abb. 4:8) here?", "No."],
        ["Read Cod. & Comm. with care.", "Then sign."],
        ["1.) Wash the rice.", "2.) Boil it."],
        ["• 9. Stir slowly.", "Serve."],
        ["She said “Enough.”", "He left."],
    ],
    "de": [
        ["Wir treffen uns am 3. Oktober in Bonn.", "Alle kommen."],
        ["Das ist z. B. Dr. med. Weiß, Lange Str. 7, Kiel.", "Gut."],
        ["Äpfel, Birnen usw. liegen dort.", "Nimm dir!"],
        ["„Das geht nicht“, rief er.", "„Doch.“", "Wir gingen."],
    ],
    "fr": [["Il rit.", "« Oui ! » dit-elle.", "Bien."], ["M. Petit et Mme. Roux arrivent à 7 h 30.", "Enfin."]],
    "es": [["¿Vienes con la Sra. Gil?", "¡Claro!", "Hasta luego."]],
    "ru": [["В 2019 г. Псков рос, см. ул. 3 Июля.", "Вот так."], ["Л. Н. Орлов пришёл.", "Все рады."]],
    "el": [["Πού μένεις;", "Μένω εδώ.", "Κοστίζει 3,50 ευρώ."]],
    "hy": [["Գնում ենք տուն։", "Լավ։"], ["Գնում ենք տուն:", "Լավ:"]],
    "hi": [["यह किताब है।", "वह कलम है।", "क्या तुम आओगे?", "हाँ॥"]],
    "bn": [["আমি বই পড়ি।", "তুমি কী কর?", "ভালো।"]],
    "ar": [["أين الكتاب؟", "هو هنا.", "السعر 7.9 دينار.", "شكرا!"]],
    "ur": [["یہ کتاب ہے۔", "تم کہاں ہو؟", "یہاں۔"]],
    "fa": [["کجا هستی؟", "من خانه‌ام.", "خوب."]],
    "ka": [["ეს წიგნია.", "ის სად არის?", "აქ."]],
    "ja": [["雨です。", "傘はありますか？", "ありません。"], ["「はい。」と彼は答えた。", "終わり。"]],
    "zh": [["价格是3.5元。", "你看过《快跑！小马》吗？", "没有。"]],
    "am": [["ሰላም ነው።", "እንዴት ነህ፧", "ደህና።"]],
    "my": [["စာအုပ်ပါ။", "ကောင်းတယ်။"]],
    "km": [["នេះជាសៀវភៅ។", "ល្អណាស់។"]],
    "bo": [["དེབ་ཡིན།", "ཡག་པོ་འདུག།"]],
}

WITHOUT_SPACES = frozenset({"ja", "zh", "am", "my", "km", "bo"})

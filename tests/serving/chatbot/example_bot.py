"""A small restaurant's bot, as a recipe would declare it, with a classifier that learns its examples."""

from functools import cache

import numpy as np

from lmpipe.models.linear.config import LinearConfig
from lmpipe.models.linear.training import train_linear
from lmpipe.recipes.reading import parse_recipe
from lmpipe.recipes.validation import validate
from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.grounding.index import build_index
from lmpipe.serving.chatbot.session import Chatbot
from lmpipe.serving.chatbot.understanding import Understander

YAML = """
greeting: hello
intents:
  - {name: greet, examples: [hello, hi there, good morning, hey]}
  - {name: book_table, title: book a table,
     examples: [I want to book a table, reserve a table please, a table for tonight, can I make a reservation]}
  - {name: cancel_booking, title: cancel a booking,
     examples: [I want to cancel my booking, please cancel my reservation, cancel the table, delete my booking]}
  - {name: question, title: ask about the restaurant,
     examples: [when are you open, do you have parking, are dogs allowed, what is on the menu, where are you]}
  - {name: person, title: talk to a person,
     examples: [I want to talk to a person, give me a human, call the manager, a real person please]}
  - {name: stop, title: stop, examples: [forget it, never mind, stop this, leave it]}
  - {name: agree, examples: [that is fine, sounds good]}
understanding:
  threshold: {kind: fixed, value: 0.45}
  affirm: agree
entities:
  - {kind: number, name: guests}
  - {kind: date, name: day}
  - {kind: time, name: hour}
  - {kind: lookup, name: branch, values: {rome: [Roma], milan: [Milano], reggio_emilia: []}}
  - {kind: email, name: email}
  - {kind: pattern, name: code, pattern: "[A-Z]{2}[0-9]{4}", change: upper}
slots:
  - {name: branch, entities: [branch], fill: always}
  - {name: guests, entities: [guests], valid: {at_least: 1, at_most: 12, response: too_many}}
  - {name: day, entities: [day], valid: {not_past: true}}
  - {name: guest, whole_message: true, personal: true}
  - {name: terrace, yes_no: true}
  - {name: email, entities: [email], personal: true, fill: asked}
  - {name: code, entities: [code]}
forms:
  - name: booking
    questions:
      - {slot: branch, ask: ask_branch}
      - {slot: day, ask: ask_day}
      - {slot: guests, ask: ask_guests}
      - {slot: terrace, ask: ask_terrace, optional: true}
      - {slot: guest, ask: ask_guest}
    max_asks: 2
    confirm: check_booking
    done: booked
  - {name: cancellation, questions: [{slot: code, ask: ask_code}], done: cancelled_booking, given_up: cancel}
responses:
  hello: ["Hello.", "Hello again."]
  ask_branch: ["Rome or Milan?", "In which town, Rome or Milan?"]
  ask_day: "When?"
  ask_guests: "For how many?"
  ask_terrace: "On the terrace?"
  ask_guest: "Under which name?"
  ask_code: "What is the code of the booking?"
  too_many: "We have tables for 1 to 12."
  check_booking: "{guests} on {day} in {branch}, terrace: {terrace}, for {guest}. Right?"
  booked: "Booked for {guest}."
  cancelled_booking: "{code} is cancelled."
rules:
  - {on: greet, do: {kind: small_talk, response: hello}}
  - {on: book_table, do: {kind: form, form: booking}}
  - {on: cancel_booking, do: {kind: form, form: cancellation}}
  - {on: question, do: {kind: ground}}
  - {on: person, do: {kind: hand_over}}
  - {on: stop, do: {kind: cancel}}
snippets:
  items:
    - {id: hours, title: Opening hours, text: "We are open from 12:00 to 23:00, closed on Mondays.", source: faq.md,
       questions: [when are you open]}
    - {id: parking, title: Parking, text: "Guests park free of charge behind the house.", questions: [do you have parking]}
    - {id: dogs, title: Dogs, text: "Dogs are welcome on the terrace.", questions: [are dogs allowed]}
  bm25: {threshold: 0.3}
stories:
  - name: a table in Rome
    steps:
      - {user: "I want to book a table in Roma tomorrow", intent: book_table, action: "ask:guests",
         entities: {branch: rome, day: "2026-03-03"}, response: ask_guests}
      - {user: "four", slots: {guests: 4, guest: null}, says: terrace}
      - {user: "yes please", action: "ask:guest", slots: {terrace: true}}
      - {user: "Ann Smith", action: confirm, says: "4 on 2026-03-03"}
      - {user: "yes", action: complete, response: booked}
  - name: a question
    today: "2026-07-01"
    steps:
      - {user: when are you open, action: ground, cites: [hours], in_scope: true}
"""


def config_of(text=YAML, **changes):
    source = parse_recipe(text, "chatbot")
    source.data.update(changes)
    return validate(ChatbotConfig, source)


@cache
def trained(cost=50.0):
    config = config_of()
    pairs = [(text, intent.name) for intent in config.intents for text in intent.examples]
    return train_linear([text for text, _ in pairs], [label for _, label in pairs], LinearConfig(cost=cost))


class Scripted:
    """A classifier that says what a test wants to hear: `"word=intent:probability,..."` by the message's first words."""

    def __init__(self, config, answers):
        self.labels = list(config.intent_by_name)
        self.answers = answers

    def probabilities(self, texts):
        rows = np.zeros((len(texts), len(self.labels)))
        for row, text in zip(rows, texts, strict=True):
            answer = next((answer for begin, answer in self.answers.items() if text.startswith(begin)), {})
            for intent, probability in answer.items():
                row[self.labels.index(intent)] = probability
            free = row == 0
            row[free] = (1 - row.sum()) / max(1, free.sum())
        return rows


def make_bot(config=None, answers=None, writer=None, embedder=None):
    config = config or config_of()
    classifier = trained() if answers is None else Scripted(config, answers)
    threshold = config.understanding.threshold.value
    understander = Understander(config, classifier, threshold=threshold)
    return Chatbot(config, understander, build_index(config.snippets, embedder=embedder), writer)

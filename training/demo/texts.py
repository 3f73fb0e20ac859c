"""Titles and descriptions of the demo catalogue: what they say is true, much goes unsaid, and some phrases mislead.

How much a merchant writes is left to `training.demo.merchants`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from training.demo.products import DemoProduct

_NOUNS = {
    "tshirt": "T-shirt|tee|crew-neck tee|jersey top|short-sleeve top",
    "shirt": "shirt|button-down|Oxford shirt|poplin shirt|long-sleeve shirt",
    "polo": "polo|polo shirt|piqué polo",
    "sweater": "sweater|jumper|pullover|crew knit|knitted top",
    "hoodie": "hoodie|hooded sweatshirt|hooded sweat",
    "jacket": "jacket|coat|bomber|overshirt|zip jacket",
    "dress": "dress|midi dress|sundress|A-line dress|shift",
    "jeans": "jeans|bootcut jeans|straight denim|five-pocket denim",
    "trousers": "trousers|chinos|slacks|pleated trousers",
    "skirt": "skirt|midi skirt|A-line skirt|pleated skirt",
    "shorts": "shorts|drawstring shorts|bermudas",
    "sneakers": "sneakers|trainers|low-tops|lace-up trainers|kicks",
    "boots": "boots|ankle boots|lace-up boots|chelseas",
    "heels": "heels|pumps|court shoes|stilettos|slingbacks",
    "sandals": "sandals|slides|strappy sandals|espadrille sandals",
    "loafers": "loafers|slip-ons|moccasins|penny loafers",
    "handbag": "handbag|shoulder bag|tote|top-handle bag|satchel",
    "backpack": "backpack|rucksack|daypack|laptop backpack",
    "watch": "watch|wristwatch|quartz watch|timepiece|three-hand watch",
    "sunglasses": "sunglasses|shades|round sunglasses|wayfarer shades",
    "belt": "belt|waist belt|pin-buckle belt",
    "tie": "tie|necktie|slim tie",
    "scarf": "scarf|wrap|stole|muffler",
    "beanie": "beanie|bobble hat|knit cap",
    "cap": "cap|baseball cap|six-panel cap",
    "mug": "mug|coffee cup|tea mug|coffee mug",
    "teapot": "teapot|tea pot|pot for two",
    "wineglass": "wine glass|goblet|red wine glass|stemware",
    "bottle": "bottle|water bottle|flask|drinking bottle",
    "vase": "vase|bud vase|flower vase",
    "lamp": "table lamp|lamp|bedside lamp|desk light",
    "cushion": "cushion|throw pillow|scatter cushion",
    "candle": "candle|scented candle|sandalwood candle|votive",
    "teddy": "teddy bear|plush bear|cuddly bear|soft toy",
    "perfume": "eau de parfum|eau de toilette|perfume|cologne",
    "nailpolish": "nail polish|nail lacquer|gel varnish",
    "powerbank": "power bank|portable charger|battery pack",
}
_COLOURS = {
    "black": "black|jet|onyx|noir",
    "white": "white|ivory|chalk",
    "grey": "grey|slate|ash",
    "red": "red|scarlet|cherry|crimson",
    "burgundy": "burgundy|wine|oxblood",
    "blue": "blue|cobalt|royal blue",
    "navy": "navy|midnight|ink",
    "skyblue": "sky|light blue|powder",
    "green": "green|moss|fern",
    "olive": "olive|khaki",
    "brown": "brown|cognac|chestnut",
    "beige": "beige|sand|camel",
    "pink": "pink|rose|blush",
    "yellow": "yellow|mustard|lemon",
    "orange": "orange|rust|tangerine",
    "purple": "purple|plum|violet",
}
_PATTERNS = {
    "striped": "striped|breton|pinstripe",
    "checked": "checked|plaid|gingham",
    "dotted": "polka-dot|spotted",
    "floral": "floral|blossom-print",
    "printed": "printed|graphic",
}
_MATERIALS = {
    "leather": "leather|nappa|full-grain|calfskin",
    "suede": "suede|nubuck",
    "vegan leather": "vegan leather|leather-look|faux leather",
    "wool": "wool|merino|lambswool",
}
_AUDIENCES = {
    "women": "women's|for women|ladies'|womens",
    "men": "men's|for men|mens|gents'",
    "unisex": "unisex|for everyone|all-gender",
    "kids": "kids'|junior|for little ones|age 4-8",
}
_CUES = {
    "formal": "tailored|business|black-tie|evening|office|occasion",
    "sport": "running|training|performance|gym|court|trail|quick-dry",
    "winter": "thermal|fleece-lined|cold-weather|snow|cosy|brushed",
    "eco": "organic|recycled|fair trade|plant-dyed|upcycled|climate-neutral",
    "boxed": "gift set|in a keepsake box|boxed|gift-boxed",
    "premium": "luxe|limited edition|couture|signature",
    "bargain": "clearance|outlet|last chance",
}
_FLAGS = ("formal", "sport", "winter", "eco", "boxed", "premium", "bargain")
_SENTENCES = {
    "formal": "Cut for the office and the evening after.|A sharp line under a suit.|For weddings and openings.",
    "sport": "Dries fast and moves with you.|Tested over forty training sessions.|Made for your workout.",
    "winter": "Keeps the warmth in when it snows.|Lined for frosty mornings.|Made for cold days and long walks.",
    "eco": "Certified organic and fairly made.|Spun from ocean plastic.|Dyed with plants, sent without plastic.",
    "boxed": "Comes in a ribboned box, ready to give.|Packed as a present with a card.|Delivered in a keepsake box.",
    "premium": "Numbered by hand, one of two hundred.|Atelier quality, down to the last stitch.",
    "bargain": "Last pieces, reduced to clear.|Outlet price: gone when it is gone.",
    "fragile": "Handle with care; it can break.|Wrapped well, as it is breakable.|Kiln-fired, no two alike.",
    "hazmat": "Flammable: keep away from heat.|Sent by ground only.|See the safety sheet before shipping.",
    "leather": "Ages to a warm patina.|Hide from a tannery that we visit.|Care for it with a little wax.",
}
_FILLERS = (
    "A favourite of ours since the first season.",
    "Gift wrap available at checkout.",
    "Black Friday price, all month.",
    "Pairs well with boots and a red scarf.",
    "Free transport within the country.",
    "Inspired by tailored menswear.",
    "Seen on the blue lake, worn in the city.",
    "Rated 4.6 of 5 by people who bought it.",
    "Returns are free for thirty days.",
    "Looks good on women and men, on sofas and on shelves.",
    "The colour may differ a little from the photograph.",
    "Not suitable for children under three.",
    "Machine washable, or wipe with a damp cloth.",
    "An eco-minded classic? We will be honest: not yet.",
)
_SHOUTS = ("NEW", "winter sale", "black week deal", "gift idea", "bestseller", "free shipping", "as seen on TV")


def title(product: DemoProduct, style: str, rng: Random) -> str:
    """Write a title: "full", "terse" (often only the model and a noun) or "loud" (with a shout that means nothing)."""
    noun = _one(_NOUNS[product.kind], rng)
    if style == "terse":
        return " ".join([product.model, *_said(product, rng, 0.45)[:2], noun])
    words = [product.brand, product.model, *_said(product, rng, 0.68), noun]
    if style == "loud":
        return " ".join([*words, "-", rng.choice(_SHOUTS)])
    return " ".join(words)


def description(product: DemoProduct, rng: Random) -> str:
    """Write two to five sentences."""
    words = [*_said(product, rng, 0.55), _one(_NOUNS[product.kind], rng)]
    opening = f"{rng.choice(('Meet', 'This is', 'Say hello to', 'Introducing'))} {product.model}: {' '.join(words)}."
    material = f"Made of {product.material}." if product.material != "plain" and rng.random() < 0.6 else ""
    facts = [_one(_SENTENCES[name], rng) for name in _truths(product) if rng.random() < 0.6]
    fillers = rng.sample(_FILLERS, rng.choice((0, 1, 1, 2)))
    rest = [sentence for sentence in (material, *facts, *fillers) if sentence]
    rng.shuffle(rest)
    return " ".join([opening, *rest])


def _said(product: DemoProduct, rng: Random, share: float) -> list[str]:
    """What a text says of a product, each true thing with a probability of about `share`."""
    cues = [_CUES[name] for name in _FLAGS if getattr(product, name)]
    looks = [_COLOURS[product.hue], _MATERIALS.get(product.material)]
    candidates = [_AUDIENCES.get(product.audience or ""), *cues, *looks]
    said = [_one(words, rng) for words in candidates if words and rng.random() < share]
    pattern = _PATTERNS.get(product.pattern)
    return [*said, _one(pattern, rng)] if pattern and rng.random() < share * 0.7 else said


def _truths(product: DemoProduct) -> Sequence[str]:
    known = {name: bool(getattr(product, name)) for name in _FLAGS}
    known["leather"] = product.material in {"leather", "suede"}
    known["fragile"] = product.material in {"glass", "porcelain", "stoneware"}
    known["hazmat"] = product.type.group in {"beauty", "tech"}
    return [name for name, holds in known.items() if holds]


def _one(choices: str, rng: Random) -> str:
    return rng.choice(choices.split("|"))

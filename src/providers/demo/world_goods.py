"""What the made-up world trades in: kinds of goods with the words that suppliers write about them."""

from __future__ import annotations

from typing import NamedTuple


class Option(NamedTuple):
    """What there is to choose: `("Color", ("Black", "White"))`."""

    name: str
    values: tuple[str, ...]


class Kind(NamedTuple):
    """One kind of goods. `cents` (USD) and `grams` say between what; a title has a lead, a detail and a use."""

    noun: str
    path: tuple[str, str, str]
    cents: tuple[int, int]
    grams: tuple[int, int]
    options: tuple[Option, ...]
    leads: tuple[str, ...]
    details: tuple[str, ...]
    uses: tuple[str, ...]


def _options(**named: str) -> tuple[Option, ...]:
    return tuple(Option(name, tuple(values.split("|"))) for name, values in named.items())


DARK = _options(Color="Black|Grey|Navy Blue")
PASTEL = _options(Color="White|Pink|Mint Green|Beige")
BRIGHT = _options(Color="Black|Blue|Purple|Pink|Green")
PLUG = _options(Color="White|Black", Plug="US|EU|UK")
WEAR = _options(Color="Black|Grey|Khaki", Size="S|M|L|XL")
SIZES = _options(Size="S|M|L")
METAL = _options(Color="Silver|Gold|Rose Gold")

_TABLE = (
    # noun; path; cents; grams; options; leads; details; uses
    (
        "Yoga Mat", "Sports & Outdoors > Fitness > Yoga", 690, 2890, 600, 1800, BRIGHT,
        "Non-Slip TPE|Extra Thick NBR|Natural Rubber|Double-Sided Cork",
        "6mm with Carrying Strap|183 x 61 cm|with Position Lines",
        "Pilates and Gym Workout|Home Fitness|Beginners",
    ),
    (
        "Resistance Bands", "Sports & Outdoors > Fitness > Strength Training", 290, 1590, 120, 650, BRIGHT,
        "Natural Latex|Anti-Break Fabric|Heavy Duty", "Set of 5 with Bag|with Door Anchor and Handles|11 Piece Kit",
        "Home Workout|Hips and Legs|Physiotherapy",
    ),
    (
        "Water Bottle", "Sports & Outdoors > Camping & Hiking > Drinkware", 480, 2190, 180, 520, BRIGHT,
        "Insulated Stainless Steel|Leakproof|BPA Free Tritan", "1L with Straw|750ml with Time Marker|with Carry Loop",
        "Gym and Travel|Kids School|Hiking and Cycling",
    ),
    (
        "Camping Lantern", "Sports & Outdoors > Camping & Hiking > Lighting", 590, 2490, 180, 640, DARK,
        "Rechargeable LED|Solar Powered|Collapsible", "with Hook, 3 Modes|4800mAh Power Bank|IPX4 Waterproof",
        "Tent and Hiking|Emergency Power Cut|Fishing",
    ),
    (
        "Hiking Backpack", "Sports & Outdoors > Camping & Hiking > Bags", 1290, 4990, 450, 1300, DARK,
        "Waterproof 40L|Ultralight Foldable|Ergonomic 50L", "with Rain Cover|with Laptop Sleeve|Breathable Back",
        "Men and Women|Trekking and Travel|Weekend Trips",
    ),
    (
        "Cycling Gloves", "Sports & Outdoors > Cycling > Clothing", 390, 1490, 60, 130, WEAR,
        "Touch Screen|Half Finger Gel|Windproof", "with Reflective Strips|Shockproof Padding|Breathable Mesh",
        "Road and MTB|Autumn and Winter|Gym Training",
    ),
    (
        "Posture Corrector", "Health & Beauty > Health Care > Braces & Supports", 420, 1890, 120, 300, SIZES,
        "Adjustable|Breathable|Invisible", "with Removable Pads|Upper Back Brace|Shoulder Support",
        "Office and Study|Men and Women|Neck Pain Relief",
    ),
    (
        "Massage Gun", "Health & Beauty > Health Care > Massage", 1990, 7900, 450, 1200, DARK,
        "Mini Deep Tissue|Brushless|Quiet 32 Speed", "with 6 Heads|Type-C Charging|with Heat",
        "Muscle Recovery|Athletes|Neck and Back",
    ),
    (
        "Hair Dryer Brush", "Health & Beauty > Hair Care > Styling Tools", 1290, 3990, 380, 720, PLUG,
        "One Step|Ionic|3 in 1", "with Cool Setting|Volumizer and Straightener|1000W",
        "Curling and Straightening|All Hair Types|Salon Results at Home",
    ),
    (
        "Jade Roller", "Health & Beauty > Skin Care > Tools", 240, 1290, 110, 260,
        _options(Stone="Jade|Rose Quartz|Amethyst"),
        "Natural Stone|Double-Ended|Anti-Wrinkle", "with Gua Sha Set|in Gift Box|Silent Metal Frame",
        "Face and Neck|Eye Puffiness|Facial Massage",
    ),
    (
        "Makeup Organizer", "Health & Beauty > Makeup > Storage", 790, 3490, 380, 1500, PASTEL,
        "360 Rotating|Acrylic|Stackable", "with Drawers|with LED Mirror|Large Capacity",
        "Dressing Table|Bathroom Countertop|Brushes and Lipstick",
    ),
    (
        "LED Strip Lights", "Home & Garden > Lighting > LED Lighting", 350, 2990, 110, 700,
        _options(Length="5M|10M|20M", Plug="US|EU|UK"),
        "RGB Music Sync|Smart WiFi|Bluetooth App Control", "with Remote|5050 Flexible Tape|Works with Voice Assistants",
        "Bedroom and Gaming Room|TV Backlight|Party Decoration",
    ),
    (
        "Desk Lamp", "Home & Garden > Lighting > Table Lamps", 890, 4290, 420, 1500, PLUG,
        "Dimmable LED|Foldable|Eye-Caring", "with Wireless Charger|3 Color Modes|with Clock and Pen Holder",
        "Study and Office|Bedside Reading|Kids Room",
    ),
    (
        "Sunset Lamp", "Home & Garden > Lighting > Night Lights", 390, 1690, 160, 420,
        _options(Light="Sunset Red|Halo|Rainbow", Plug="USB|EU|US"),
        "180 Degree Rotation|16 Colors|USB", "Projector with App|with Remote Control|Adjustable Stand",
        "Photography and Live|Bedroom Mood|Party",
    ),
    (
        "Throw Blanket", "Home & Garden > Home Textiles > Blankets", 990, 3990, 500, 1800, PASTEL,
        "Chunky Knit|Soft Flannel|Sherpa Fleece", "130 x 160 cm|with Tassels|Double-Layer Warm",
        "Sofa and Bed|Travel and Camping|All Seasons",
    ),
    (
        "Memory Foam Pillow", "Home & Garden > Home Textiles > Bedding", 1190, 3890, 700, 1400,
        _options(Size="50 x 30 cm|60 x 35 cm", Color="White|Grey"),
        "Cervical|Slow Rebound|Cooling Gel", "with Washable Cover|Ergonomic Contour|Butterfly Shape",
        "Side and Back Sleepers|Neck Support|Travel",
    ),
    (
        "Plant Stand", "Home & Garden > Garden > Planters", 1490, 5990, 1500, 5200,
        _options(Tiers="3 Tiers|5 Tiers|7 Tiers"),
        "Bamboo|Metal Corner|Wooden Ladder", "Flower Pot Shelf|with Wheels|Rust-Proof",
        "Indoor and Balcony|Living Room|Succulents",
    ),
    (
        "Garden Hose Nozzle", "Home & Garden > Garden > Watering", 390, 1490, 180, 420,
        _options(Color="Green|Black", Thread="US|EU"),
        "High Pressure|10 Pattern|Thumb Control", "Metal Spray Gun|with Quick Connector|Leakproof",
        "Car Wash and Lawn|Patio Cleaning|Watering Plants",
    ),
    (
        "Storage Box", "Home & Garden > Storage > Boxes", 350, 1990, 220, 1400,
        _options(Size="S|M|L", Color="White|Grey"),
        "Foldable|Stackable Clear|Woven Cotton", "with Lid|with Handles|Set of 3",
        "Wardrobe and Shelves|Toys and Snacks|Under the Bed",
    ),
    (
        "Vegetable Chopper", "Kitchen > Kitchen Tools > Choppers", 690, 2690, 420, 1100,
        _options(Color="Green|White", Set="8 Blades|14 Blades"),
        "Multifunctional|Handheld Electric|Manual 14 in 1", "with Container|Stainless Steel Blades|Dishwasher Safe",
        "Onion, Garlic and Salad|Meal Prep|Small Kitchens",
    ),
    (
        "Portable Blender", "Kitchen > Small Appliances > Blenders", 990, 3490, 350, 800, PASTEL,
        "USB Rechargeable|6 Blade|Mini Cordless", "380ml Cup|with Travel Lid|4000mAh",
        "Smoothies and Shakes|Gym and Office|Baby Food",
    ),
    (
        "Coffee Grinder", "Kitchen > Coffee > Grinders", 1190, 5490, 380, 1400, DARK,
        "Manual Ceramic Burr|Electric|Adjustable", "with 30 Settings|Stainless Steel|with Brush",
        "Espresso and Pour Over|Camping|French Press",
    ),
    (
        "Silicone Baking Mat", "Kitchen > Bakeware > Mats", 250, 1290, 90, 320, _options(Size="30 x 40 cm|40 x 60 cm"),
        "Non-Stick|Reusable|Food Grade", "with Measurements|Thickened|Set of 2",
        "Pastry and Macarons|Oven and Microwave|Kneading Dough",
    ),
    (
        "Knife Sharpener", "Kitchen > Kitchen Tools > Sharpeners", 490, 2290, 180, 450, DARK,
        "4 Stage|Professional|Adjustable Angle", "Non-Slip Base|Diamond and Ceramic|with Glove",
        "Kitchen Knives and Scissors|Chefs|Outdoor",
    ),
    (
        "Wireless Earbuds", "Electronics > Audio > Earphones", 790, 4990, 90, 210, PASTEL,
        "Bluetooth 5.3|Noise Cancelling|IPX7 Waterproof", "with Charging Case|Low Latency|60 Hours Playtime",
        "Sport and Gaming|Calls|Running",
    ),
    (
        "Phone Stand", "Electronics > Phone Accessories > Holders", 190, 1590, 90, 380, METAL,
        "Adjustable Aluminum|Foldable|Magnetic", "with Cable Slot|360 Rotation|Heavy Base",
        "Desk and Bedside|Video Calls|Tablet and Phone",
    ),
    (
        "Ring Light", "Electronics > Photo > Lighting", 890, 3990, 480, 1500, _options(Size="6 Inch|10 Inch|12 Inch"),
        "Dimmable LED|Selfie|Bi-Color", "with Tripod and Phone Holder|with Remote|3000K-6000K",
        "Live Streaming and Makeup|Product Photos|Video Calls",
    ),
    (
        "Power Bank", "Electronics > Phone Accessories > Chargers", 1090, 4490, 190, 520,
        _options(Color="Black|White", Capacity="10000mAh|20000mAh"),
        "Fast Charging|Magnetic Wireless|Slim", "PD 22.5W|with Built-in Cables|LED Display",
        "Phones and Tablets|Travel|Camping",
    ),
    (
        "Smart Watch", "Electronics > Wearables > Watches", 1490, 6990, 90, 240, METAL,
        "1.85 Inch HD|Bluetooth Call|Fitness Tracker", "with Heart Rate Monitor|IP68 Waterproof|100 Sport Modes",
        "Men and Women|Android and iOS|Running and Sleep",
    ),
    (
        "Mechanical Keyboard", "Electronics > Computer > Keyboards", 2490, 8990, 650, 1300,
        _options(Color="Black|White", Switch="Red|Blue|Brown"),
        "RGB Hot-Swappable|Compact 60%|Wireless 75%", "with PBT Keycaps|Gasket Mount|Triple Mode",
        "Gaming and Typing|Mac and PC|Office",
    ),
    (
        "Dog Harness", "Pets > Dogs > Walking", 590, 2290, 120, 420, _options(Color="Black|Red|Blue", Size="S|M|L|XL"),
        "No-Pull|Reflective|Breathable Mesh", "with Leash|with Handle|Quick Release Buckle",
        "Small and Large Dogs|Night Walks|Training",
    ),
    (
        "Cat Water Fountain", "Pets > Cats > Feeding", 1190, 3990, 600, 1400, PLUG,
        "Automatic|Ultra Quiet|Stainless Steel", "2.5L with Filter|with LED Light|with Sensor",
        "Cats and Small Dogs|Multiple Pets|Indoor Use",
    ),
    (
        "Pet Hair Remover", "Pets > Grooming > Brushes", 350, 1590, 150, 420, PASTEL,
        "Reusable|Self-Cleaning|Double-Sided", "Lint Roller|with Base|Steam Brush",
        "Sofa, Carpet and Clothes|Cats and Dogs|Car Seats",
    ),
    (
        "Pet Bed", "Pets > Dogs > Beds", 990, 4490, 500, 2200,
        _options(Color="Grey|Brown|Pink", Size="40 cm|60 cm|80 cm"),
        "Calming Donut|Washable Plush|Orthopedic", "with Removable Cover|Anti-Slip Bottom|Round",
        "Cats and Puppies|Winter|Anxious Pets",
    ),
    (
        "Baby Carrier", "Toys & Kids > Baby > Carriers", 1890, 5990, 450, 1100, DARK,
        "Ergonomic|Breathable Mesh|4 in 1", "with Hip Seat|with Lumbar Support|Adjustable",
        "Newborn to Toddler|Travel|Moms and Dads",
    ),
    (
        "Building Blocks", "Toys & Kids > Toys > Construction", 690, 4990, 300, 1900, _options(Pieces="200|500|1000"),
        "Magnetic|Creative STEM|Wooden", "with Storage Bag|with Idea Book|Large Particles",
        "Boys and Girls 3+|Birthday Gift|Classroom",
    ),
    (
        "Fidget Toy", "Toys & Kids > Toys > Novelty", 150, 990, 30, 180, BRIGHT,
        "Silent|Metal|Silicone", "Set of 3|with Keychain|Infinity Cube",
        "Adults and Kids|Stress Relief|Office and School",
    ),
    (
        "Hoodie", "Fashion > Clothing > Sweatshirts", 1190, 3990, 380, 820, WEAR,
        "Oversized|Fleece Lined|Vintage Washed", "with Kangaroo Pocket|Heavyweight Cotton|Drop Shoulder",
        "Men and Women|Autumn and Winter|Streetwear",
    ),
    (
        "Leggings", "Fashion > Clothing > Sportswear", 790, 2690, 160, 380, WEAR,
        "High Waist|Seamless|Squat Proof", "with Pockets|Tummy Control|Buttery Soft",
        "Yoga and Gym|Running|Everyday Wear",
    ),
    (
        "Crossbody Bag", "Fashion > Bags > Shoulder Bags", 790, 3490, 260, 720, _options(Color="Black|Brown|Beige"),
        "PU Leather|Nylon Waterproof|Quilted", "with Adjustable Strap|Multi Pocket|with Chain",
        "Women|Travel and Work|Phone and Wallet",
    ),
    (
        "Necklace", "Fashion > Jewelry > Necklaces", 190, 1990, 20, 80, METAL,
        "18K Gold Plated|Stainless Steel|Layered", "with Initial Pendant|Waterproof|in Gift Box",
        "Women and Girls|Anniversary Gift|Everyday Wear",
    ),
    (
        "Sunglasses", "Fashion > Accessories > Eyewear", 290, 1890, 40, 140, _options(Color="Black|Tortoise|Brown"),
        "Polarized|Retro Square|UV400", "with Case|Lightweight TR90|Mirror Lens",
        "Driving and Fishing|Men and Women|Beach and Travel",
    ),
    (
        "Car Phone Holder", "Automotive > Interior > Holders", 390, 1890, 110, 380, DARK,
        "Magnetic|Gravity|Dashboard Suction", "with Long Arm|Air Vent Clip|15W Wireless Charging",
        "All Phones|Truck and Car|Navigation",
    ),
    (
        "Car Vacuum Cleaner", "Automotive > Care > Cleaning", 1290, 4990, 480, 1200, DARK,
        "Cordless|9000Pa|Handheld", "with HEPA Filter|Wet and Dry|with LED Light",
        "Car and Home|Pet Hair|Keyboard and Sofa",
    ),
)  # fmt: skip

KINDS = tuple(
    Kind(
        noun,
        (path.split(" > ")[0], path.split(" > ")[1], path.split(" > ")[2]),
        (low, high),
        (light, heavy),
        options,
        *(tuple(each.split("|")) for each in (leads, details, uses)),
    )
    for noun, path, low, high, light, heavy, options, leads, details, uses in _TABLE
)

ANYTHING = Kind(
    "Everyday Helper",
    ("Home & Garden", "Household", "Household Goods"),
    (390, 3990),
    (120, 900),
    BRIGHT,
    ("Upgraded", "Premium", "Portable", "Multifunctional", "Eco-Friendly"),
    ("with Storage Bag", "2 Pack", "Durable and Lightweight", "with Gift Box", "Adjustable"),
    ("Home and Office", "Travel", "Gift", "Men and Women", "Everyday Use"),
)
"""What the world knows nothing of: goods named after the words that were searched for."""

BRANDS = (  # noqa: SIM905 (quotes round each would hide them)
    "Lunara|Velmo|Orvik|Tessen|Brightpine|Nordhus|Kaveo|Mirelle|Ashgrove|Pelico|Zentra|Halden|Fiora|Wexley|Caldora|"
    "Juniper&Co|Ostara|Quillon|Rivado|Sonnet"
).split("|")
"""Made up, as all here."""

SUPPLIERS = (
    "Shenzhen Brightway Trading Co., Ltd.",
    "Yiwu Morning Star Import & Export",
    "Hangzhou Greenleaf Home Store",
    "Guangzhou Lianhe Sporting Goods",
    "Ningbo Easylife Official Store",
    "Dongguan Topcraft Factory Store",
    "Quanzhou Silverbird Outdoor",
    "Foshan Happy Home Furnishing",
    "Xiamen Oceanview Textile Store",
    "Wenzhou Goodlight Electric Co., Ltd.",
)

COPY = (
    "{It} in the quality that you would expect from a far more expensive brand.",
    "Light to carry, strong enough to keep: made of selected materials that feel right from the first minute.",
    "Ready to use out of the box, nothing to set up and nothing to learn.",
    "Easy to clean and quick to store away, so that it does not stand in your way.",
    "Each piece is inspected by hand before it leaves our warehouse.",
    "Tested for a thousand hours of daily use, and it still looks like new.",
    "A present that people keep: it comes in a neat box, with a short guide in English.",
    "Please allow 1-3 cm of difference in size, and small differences of colour on your screen.",
    "Any question? Write to us, we answer within 24 hours on working days.",
)

SHOP = (
    # title, kind; the shop's own price in cents, and what the supplier takes
    ("Non-Slip Cork Yoga Mat with Carrying Strap", "Yoga Mat", 4900, 1840),
    ("Fabric Resistance Bands, Set of 5 with Bag", "Resistance Bands", 2490, 680),
    ("Insulated Water Bottle 750ml, Leakproof", "Water Bottle", 2790, 890),
    ("Rechargeable Camping Lantern with Hook", "Camping Lantern", 3490, 1180),
    ("Waterproof Hiking Backpack 40L with Rain Cover", "Hiking Backpack", 6900, 2650),
    ("Adjustable Posture Corrector, Breathable", "Posture Corrector", 2490, 610),
    ("Mini Massage Gun, Quiet, with 4 Heads", "Massage Gun", 7900, 2890),
    ("One Step Hair Dryer Brush", "Hair Dryer Brush", 4490, 1690),
    ("Jade Roller and Gua Sha Set in Gift Box", "Jade Roller", 1990, 490),
    ("LED Strip Lights with App, Music Sync", "LED Strip Lights", 2490, 740),
    ("Dimmable Desk Lamp with Wireless Charger", "Desk Lamp", 4990, 1980),
    ("Sunset Lamp Projector, 16 Colors", "Sunset Lamp", 2290, 690),
    ("Chunky Knit Throw Blanket", "Throw Blanket", 5900, 2240),
    ("Bamboo Plant Stand, 5 Tiers", "Plant Stand", 6490, 2780),
    ("Vegetable Chopper 14 in 1 with Container", "Vegetable Chopper", 3290, 1150),
    ("Portable Blender, USB Rechargeable", "Portable Blender", 3490, 1240),
    ("Manual Coffee Grinder, Ceramic Burr", "Coffee Grinder", 3990, 1490),
    ("Wireless Earbuds with Noise Cancelling", "Wireless Earbuds", 4990, 1790),
    ("Magnetic Phone Stand, Aluminum", "Phone Stand", 1990, 590),
    ("No-Pull Dog Harness with Leash", "Dog Harness", 2990, 980),
    ("Quiet Cat Water Fountain 2.5L", "Cat Water Fountain", 3990, 1580),
    ("Reusable Pet Hair Remover", "Pet Hair Remover", 1790, 460),
    ("High Waist Leggings with Pockets", "Leggings", 3490, 1190),
    ("Cordless Car Vacuum Cleaner with HEPA Filter", "Car Vacuum Cleaner", 4490, 1780),
)

import {readFileSync} from 'node:fs';
import {packageFile} from './packages';

/** A set of emoji: drawings, and names by category. */
export interface EmojiSet {
  icons: Record<string, {body: string}>;
  categories: Record<string, string[]>;
}

/** Microsoft's Fluent Emoji Flat, from npm. */
export function fluentEmoji(): EmojiSet {
  const json = (file: string) =>
    JSON.parse(readFileSync(packageFile(`@iconify-json/fluent-emoji-flat/${file}.json`), 'utf8')) as object;
  return {...json('icons'), ...json('metadata')} as EmojiSet;
}

/** Emoji of kinds that can be told apart. */
const KINDS = {
  animals:
    'cow dog rabbit elephant pig tiger horse ewe mouse lion bear fox camel goat koala panda giraffe ' +
    'leopard hippopotamus rhinoceros kangaroo raccoon hedgehog otter sloth skunk',
  fruit:
    'banana red-apple cherries grapes lemon strawberry pineapple watermelon pear carrot tomato tangerine ' +
    'kiwi-fruit eggplant avocado coconut peach mango broccoli cucumber melon green-apple blueberries ' +
    'hot-pepper',
  vehicles:
    'automobile bus tractor bicycle taxi fire-engine locomotive motorcycle sailboat airplane ambulance ' +
    'delivery-truck racing-car helicopter tram minibus police-car motor-scooter pickup-truck trolleybus ' +
    'speedboat ship train',
  buildings:
    'house castle church hospital factory school hotel mosque hut stadium bank office-building ' +
    'post-office tokyo-tower synagogue department-store japanese-castle convenience-store ' +
    'classical-building house-with-garden tent fountain',
  clothes:
    't-shirt jeans dress necktie socks gloves scarf coat running-shoe top-hat shorts bikini kimono ' +
    'billed-cap mans-shoe hiking-boot womans-boot handbag backpack flat-shoe high-heeled-shoe womans-hat ' +
    'lab-coat safety-vest',
};

/** A drawing of a kind, as the body of an SVG of 32 × 32 units. */
export interface Sample {
  kind: string;
  body: string;
}

/** Some drawings of each of the first `kinds` kinds, from number `first`. */
export function samples(kinds: number, first: number, count: number): Sample[] {
  const {icons} = fluentEmoji();
  return Object.entries(KINDS)
    .slice(0, kinds)
    .flatMap(([kind, names]) =>
      names
        .split(' ')
        .filter(name => name in icons)
        .slice(first, first + count)
        .map(name => ({kind, body: icons[name]!.body})),
    );
}

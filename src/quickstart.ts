// The door to a first result: a small pretrained model and data that it does not know yet, so that ten lines run as
// they are written.

export {digitReader} from './extensions/quickstart/digitReader';
export {type Digits, turnedDigits} from './extensions/quickstart/turnedDigits';

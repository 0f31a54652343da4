import {fileHandler} from './node/fileHandler';
import {readPEFTFolder, writePEFTFolder} from './node/peftFolder';
import {ownHandlers} from './storage/places';

// Registering a router with tfjs would leave two beside tfjs-node, which brings one.
ownHandlers.set('file:', fileHandler);

// The front door in Node: that of the browser, and files. These are few names more, not another list of names to keep
// in step.
export * from './index';
export {fileHandler, readPEFTFolder, writePEFTFolder};

import { describeScenes } from '../support/scenes/describe-scenes.ts';

describeScenes({ proxy: 'haproxy', pool: '127.75.0.0/17', pods: '127.88.75', takenPort: 18_475 });
